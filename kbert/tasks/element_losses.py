# SPDX-License-Identifier: Apache-2.0
"""Losses of each element of an output.

Keras's own take the mean over the last axis before they apply weights; here
each element has its own weight, as padding needs it.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class BinaryCrossentropy(keras.losses.Loss):
    """The cross-entropy of each logit with its label, 0 or 1.

    Call: labels and logits of one shape -> the mean of their losses.
    """

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, y_pred.dtype)
        return ops.binary_crossentropy(labels, y_pred, from_logits=True)


@keras.saving.register_keras_serializable(package="kbert")
class SquaredError(keras.losses.Loss):
    """The squared difference of each value from its label.

    Call: labels and values of one shape -> the mean of their losses.
    """

    def call(self, y_true, y_pred):
        return ops.square(y_pred - ops.cast(y_true, y_pred.dtype))
