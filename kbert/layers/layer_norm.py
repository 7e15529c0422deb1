# SPDX-License-Identifier: Apache-2.0
"""Layer normalization with a gradient of few passes."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class LayerNorm(keras.layers.LayerNormalization):
    """Keras's layer over the last axis; in training its gradient is written.

    The one that TensorFlow derives from the forward pass takes twice the
    operations, each over all rows. What answers stays without it: a
    SavedModel does not hold gradients, and warns of those that are written.

    Call: rows (..., H) float -> (..., H), of mean 0 and variance 1, times
        gamma (H,) plus beta (H,).
    Source: Ba et al. 2016, arXiv:1607.06450, section 3.
    """

    def call(self, rows, training=None):
        if not training:
            return super().call(rows)
        given = (rows, self.gamma, self.beta)
        # Variables as tensors too, for which it gives the gradients.
        given = [ops.cast(x, self.variable_dtype) for x in given]
        return ops.cast(_normed(self.epsilon)(*given), self.compute_dtype)


def _normed(epsilon):
    """A function of rows, gamma and beta."""

    @ops.custom_gradient
    def normed(rows, gamma, beta):
        centred = rows - ops.mean(rows, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        scale = ops.rsqrt(variance + epsilon)
        unit = centred * scale

        def gradient(*args, upstream=None):
            if upstream is None:  # as some of Keras's backends give it
                (upstream,) = args
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
