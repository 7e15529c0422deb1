# SPDX-License-Identifier: Apache-2.0
"""The last step of the masked-LM head: a bias for each token."""

import keras


@keras.saving.register_keras_serializable(package="kbert")
class AddBias(keras.layers.Layer):
    """Adds a learned vector along the last axis.

    Call: logits (..., V) float -> (..., V), in the layer's dtype.
    Source: the published code of Devlin et al. 2019, arXiv:1810.04805,
        google-research/bert, run_pretraining.py, get_masked_lm_output.
    """

    def build(self, logits_shape):
        self.bias = self.add_weight(
            name="bias", shape=(logits_shape[-1],), initializer="zeros"
        )

    def call(self, logits):
        return logits + self.bias

    def compute_output_shape(self, logits_shape):
        return logits_shape
