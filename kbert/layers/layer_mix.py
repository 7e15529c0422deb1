# SPDX-License-Identifier: Apache-2.0
"""A learned weighted mean of the outputs of several layers."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class LayerMix(keras.layers.Layer):
    """Computes a learned weighted mean of layers, times a learned scalar.

    Call: a list of L tensors (B, S, H) float -> (B, S, H), in the layer's
        dtype: gamma * sum_l softmax(layer_weights)_l * rows_l. The initial
        weights give the plain mean.
    Raises: ValueError, when built, if the shapes differ.
    Source: Peters et al. 2018, arXiv:1802.05365, equation 1, without its
        optional layer normalization.
    """

    def build(self, layers_shape):
        if len({tuple(shape) for shape in layers_shape}) != 1:
            raise ValueError(
                f"{self.name} takes layers of one shape; got {layers_shape}."
            )
        self.layer_weights = self.add_weight(
            name="layer_weights",
            shape=(len(layers_shape),),
            initializer="zeros",
        )
        self.gamma = self.add_weight(name="gamma", shape=(), initializer="ones")

    def call(self, layers):
        shares = self.gamma * ops.softmax(self.layer_weights)
        return sum(
            share * rows
            for share, rows in zip(
                ops.unstack(shares, len(layers)), layers, strict=True
            )
        )

    def compute_output_shape(self, layers_shape):
        return layers_shape[0]
