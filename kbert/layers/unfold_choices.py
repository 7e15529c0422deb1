# SPDX-License-Identifier: Apache-2.0
"""What was computed of each choice, back in the rows of its example."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class UnfoldChoices(keras.layers.Layer):
    """Splits the axis that `FoldChoices` merged.

    Call: values (B * C, ...), and rows (B, C, S) as `FoldChoices` got them,
        any axis static or not -> (B, C, ...), dtype of `values`. Only the
        shape of `rows` matters.
    Raises: ValueError, when built, if `rows` has another rank.
    """

    def build(self, values_shape, rows_shape):
        if len(rows_shape) != 3:
            raise ValueError(
                f"{self.name} takes rows (B, C, S); got {rows_shape}."
            )

    def call(self, values, rows):
        B, C, _ = ops.shape(rows)
        return ops.reshape(values, (B, C, *ops.shape(values)[1:]))
