# SPDX-License-Identifier: Apache-2.0
"""The first step of the masked-LM output: only the predicted tokens."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class TakePositions(keras.layers.Layer):
    """Picks the hidden states that stand at given positions.

    Call: hidden (B, S, H) float, positions (B, P) int32 with 0 <= p < S
        -> (B, P, H), dtype of `hidden`. Padding entries are 0 and pick the
        first token: give them weight 0 in the loss.
    Raises: ValueError, when built, if an input has another rank.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1, task 1.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)

    def build(self, hidden_shape, positions_shape):
        if (len(hidden_shape), len(positions_shape)) != (3, 2):
            raise ValueError(
                f"{self.name} takes hidden (B, S, H) and positions (B, P); "
                f"got {hidden_shape} and {positions_shape}."
            )

    def call(self, hidden, positions):
        batch, length, width = ops.shape(hidden)
        first = ops.expand_dims(ops.arange(batch) * length, 1)
        rows = ops.reshape(hidden, (-1, width))  # 4x take_along_axis
        return ops.take(rows, positions + first, axis=0)

    def compute_output_shape(self, hidden_shape, positions_shape):
        return (*positions_shape, hidden_shape[-1])
