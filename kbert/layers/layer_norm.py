# SPDX-License-Identifier: Apache-2.0
"""Layer normalization with a custom gradient."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class LayerNorm(keras.layers.Layer):
    """Layer normalization, with a custom gradient in training.

    The gradient that TensorFlow derives takes more passes over the rows. A
    SavedModel stores no custom gradients and warns about them, so inference
    uses the plain operation.

    Call: rows (..., H) float -> (..., H) with mean 0 and variance 1, times
        gamma (H,) plus beta (H,), in the compute dtype; computed in at least
        float32.
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
        # Cast to tensors: a custom gradient cannot take variables.
        tensors = [ops.cast(x, dtype) for x in (rows, self.gamma, self.beta)]
        if training:
            normalize = ops.custom_gradient(_normalization(self.epsilon))
            normed = normalize(*tensors)
        else:
            normed = ops.layer_normalization(*tensors, epsilon=self.epsilon)
        return ops.cast(normed, self.compute_dtype)

    def compute_output_shape(self, rows_shape):
        return rows_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


def _normalization(epsilon):
    """Returns a function that `ops.custom_gradient` takes."""

    def normalize(rows, gamma, beta):
        centered = rows - ops.mean(rows, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
        scale = ops.rsqrt(variance + epsilon)
        unit = centered * scale

        def gradient(*args, upstream=None):
            # Keras's backends pass the upstream gradient in either way.
            upstream = args[0] if upstream is None else upstream
            batch_axes = tuple(range(len(rows.shape) - 1))
            of_unit = upstream * gamma
            along = ops.mean(of_unit * unit, axis=-1, keepdims=True)
            mean = ops.mean(of_unit, axis=-1, keepdims=True)
            return (
                (of_unit - (mean + unit * along)) * scale,
                ops.sum(upstream * unit, axis=batch_axes),
                ops.sum(upstream, axis=batch_axes),
            )

        return unit * gamma + beta, gradient

    return normalize
