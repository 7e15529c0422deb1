# SPDX-License-Identifier: Apache-2.0
"""The choices of all examples as separate rows of the encoder's input."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class FoldChoices(keras.layers.Layer):
    """Merges the batch axis and the choice axis.

    Call: (B, C, S), C and S static or not -> (B * C, S), same dtype; row
        b * C + c is choice c of example b.
    Raises: ValueError, when built, if the input has another rank.
    """

    def build(self, rows_shape):
        if len(rows_shape) != 3:
            raise ValueError(
                f"{self.name} takes rows (B, C, S); got {rows_shape}."
            )

    def call(self, rows):
        return ops.reshape(rows, (-1, ops.shape(rows)[-1]))

    def compute_output_shape(self, rows_shape):
        B, C, S = rows_shape
        return (None if None in (B, C) else B * C, S)
