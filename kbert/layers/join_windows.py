# SPDX-License-Identifier: Apache-2.0
"""The vectors of a text's windows as one."""

from typing import Any, Literal

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class JoinWindows(keras.layers.Layer):
    """Takes the mean or the maximum over the windows of each text.

    A text has its first window, and those others that have more than one
    token: where texts of a batch differ in their windows, [CLS] alone fills
    up.

    Call: vectors (B * N, H) float, and the padding mask (B, N, S) int32 of the
        N windows of each text, any axis static or not -> (B, H), dtype of
        `vectors`.

    Args:
        how: "mean" or "max".
    Raises: ValueError for another `how`; when built, for a mask of another
        rank.
    """

    def __init__(self, how: Literal["mean", "max"] = "mean", **kwargs: Any):
        super().__init__(**kwargs)
        if how not in ("mean", "max"):
            raise ValueError(f"how is {how!r}; needs 'mean' or 'max'.")
        self.how = how

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "how": self.how}

    def build(self, vectors_shape, padding_mask_shape):
        if len(padding_mask_shape) != 3:
            raise ValueError(
                f"{self.name} takes a padding mask (B, N, S); got "
                f"{padding_mask_shape}."
            )

    def call(self, vectors, padding_mask):
        B, N, _ = ops.shape(padding_mask)
        vectors_BNH = ops.reshape(vectors, (B, N, vectors.shape[-1]))
        sizes_BN = ops.sum(ops.cast(padding_mask != 0, "int32"), axis=-1)
        first_BN = ops.cumsum(ops.ones_like(sizes_BN), axis=1) == 1
        is_window_BN1 = ops.expand_dims((sizes_BN > 1) | first_BN, -1)
        if self.how == "max":
            # Below any vector's numbers, and no infinity that a product with
            # 0 would make NaN.
            lowest = ops.where(is_window_BN1, vectors_BNH, -1e9)
            return ops.max(lowest, axis=1)
        counted_BN1 = ops.cast(is_window_BN1, vectors_BNH.dtype)
        total_BH = ops.sum(vectors_BNH * counted_BN1, axis=1)
        return total_BH / ops.sum(counted_BN1, axis=1)

    def compute_output_shape(self, vectors_shape, padding_mask_shape):
        return padding_mask_shape[0], vectors_shape[-1]
