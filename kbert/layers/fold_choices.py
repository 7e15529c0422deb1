# SPDX-License-Identifier: Apache-2.0
"""The choices of all rows as rows of their own, which the encoder takes."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class FoldChoices(keras.layers.Layer):
    """Puts the choices of each row below each other.

    Call: (B, C, S), C and S known or not -> (B * C, S), of the same dtype;
        row b * C + c is choice c of row b.
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
