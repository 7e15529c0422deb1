# SPDX-License-Identifier: Apache-2.0
"""The dense step of the masked-LM head, before the output matrix."""

import keras
from keras import ops

from kbert.layers.activations import activation
from kbert.layers.layer_norm import LayerNorm


@keras.saving.register_keras_serializable(package="kbert")
class MlmTransform(keras.layers.Layer):
    """Applies a dense layer of width H, the activation and a layer norm.

    Call: hidden (..., H) float -> (..., H) in the variable dtype; the matrix
        product runs in the compute dtype.
    Source: the published code of Devlin et al. 2019, arXiv:1810.04805,
        google-research/bert, run_pretraining.py, get_masked_lm_output.
    """

    def __init__(
        self,
        hidden_act: str,
        layer_norm_epsilon: float,
        initializer_range: float,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.hidden_act = hidden_act
        self.layer_norm_epsilon = layer_norm_epsilon
        self.initializer_range = initializer_range
        self._activation = activation(hidden_act)
        self._norm = LayerNorm(
            epsilon=layer_norm_epsilon, dtype=self.variable_dtype, name="norm"
        )

    def build(self, hidden_shape):
        width = hidden_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(width, width),
            initializer=keras.initializers.TruncatedNormal(
                stddev=self.initializer_range
            ),
        )
        self.bias = self.add_weight(
            name="bias", shape=(width,), initializer="zeros"
        )
        self._norm.build(hidden_shape)

    def call(self, hidden, training=None):
        dtype = self.compute_dtype
        product = ops.matmul(
            ops.cast(hidden, dtype), ops.cast(self.kernel, dtype)
        )
        product = ops.cast(product, self.variable_dtype)
        bias = ops.convert_to_tensor(self.bias, self.variable_dtype)
        return self._norm(self._activation(product + bias), training=training)

    def compute_output_shape(self, hidden_shape):
        return hidden_shape

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_act": self.hidden_act,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "initializer_range": self.initializer_range,
        }
