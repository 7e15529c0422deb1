# SPDX-License-Identifier: Apache-2.0
"""Layer normalization with a gradient of few passes."""

import keras
from keras import ops

from kbert.layers.written_gradient import with_written_gradient


@keras.saving.register_keras_serializable(package="kbert")
class LayerNorm(keras.layers.Layer):
    """Layer normalization, whose gradient in training is written out.

    Call: rows (..., H) float -> (..., H), of mean 0 and variance 1, times
        gamma (H,) plus beta (H,), in the compute dtype; computed in float32
        at least.
    Source: Ba et al. 2016, arXiv:1607.06450, section 3.
    """

    def __init__(self, epsilon: float, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.epsilon = epsilon

    def build(self, rows_shape):
        shape = rows_shape[-1:]
        self.gamma = self.add_weight(
            name="gamma", shape=shape, initializer="ones"
        )
        self.beta = self.add_weight(
            name="beta", shape=shape, initializer="zeros"
        )

    def call(self, rows, training=None):
        dtype = keras.backend.result_type(self.variable_dtype, "float32")
        # As tensors: a written gradient has no place for variables.
        given = [ops.cast(x, dtype) for x in (rows, self.gamma, self.beta)]
        if training:
            normed = _normed(self.epsilon)(*given)
        else:
            normed = ops.layer_normalization(*given, epsilon=self.epsilon)
        return ops.cast(normed, self.compute_dtype)

    def compute_output_shape(self, rows_shape):
        return rows_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


def _normed(epsilon):
    """A function of rows, gamma and beta."""

    @with_written_gradient
    def normed(rows, gamma, beta):
        centred = rows - ops.mean(rows, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        scale = ops.rsqrt(variance + epsilon)
        unit = centred * scale

        def gradient(upstream):
            others = tuple(range(len(rows.shape) - 1))
            of_unit = upstream * gamma
            along = ops.mean(of_unit * unit, axis=-1, keepdims=True)
            mean = ops.mean(of_unit, axis=-1, keepdims=True)
            return (
                (of_unit - (mean + unit * along)) * scale,
                ops.sum(upstream * unit, axis=others),
                ops.sum(upstream, axis=others),
            )

        return unit * gamma + beta, gradient

    return normed
