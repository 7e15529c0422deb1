# SPDX-License-Identifier: Apache-2.0
"""The sum of token, segment and position embeddings."""

import keras
import numpy as np
from keras import ops

from kbert.layers.layer_norm import LayerNorm


@keras.saving.register_keras_serializable(package="kbert")
class Embeddings(keras.layers.Layer):
    """Adds segment and position embeddings, then layer norm and dropout.

    Call: token_rows (..., S, H) float, segment_ids (..., S) int32,
        position_ids (..., S) int32 or None for 0, 1, ... along S
        -> (..., S, H) in the variable dtype. Flat rows (T, H) of several
        texts need `position_ids`.
    Position embeddings are learned, or the fixed sinusoids of Vaswani et al.
    2017, arXiv:1706.03762, section 3.5. With type_vocab_size 1 every token
    gets the one segment vector, whatever its segment id.
    Raises: ValueError, when built, if the shapes do not match or if S is
        known and exceeds the position table.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3 and figure 2.
    """

    def __init__(
        self,
        max_position_embeddings: int,
        type_vocab_size: int,
        position_embedding: str,
        layer_norm_epsilon: float,
        dropout: float,
        initializer_range: float,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.position_embedding = position_embedding
        self.layer_norm_epsilon = layer_norm_epsilon
        self.dropout = dropout
        self.initializer_range = initializer_range
        self._norm = LayerNorm(
            epsilon=layer_norm_epsilon, dtype=self.variable_dtype, name="norm"
        )
        self._dropout = keras.layers.Dropout(
            dropout, dtype=self.variable_dtype, name="dropout"
        )

    def build(
        self, token_rows_shape, segment_ids_shape, position_ids_shape=None
    ):
        *_, length, width = token_rows_shape
        for shape in (segment_ids_shape, position_ids_shape):
            if shape is not None and len(shape) + 1 != len(token_rows_shape):
                raise ValueError(
                    f"{self.name} takes token rows (..., S, H) and ids "
                    f"(..., S); got {token_rows_shape} and {shape}."
                )
        if length is not None and position_ids_shape is None:
            self._check_length(length)
        normal = keras.initializers.TruncatedNormal(
            stddev=self.initializer_range
        )
        self.segment_table = self.add_weight(
            name="segment_embedding",
            shape=(self.type_vocab_size, width),
            initializer=normal,
        )
        if self.position_embedding == "learned":
            self.position_table = self.add_weight(
                name="position_embedding",
                shape=(self.max_position_embeddings, width),
                initializer=normal,
            )
        else:
            self.position_table = _sinusoids(
                self.max_position_embeddings, width
            )
        self._norm.build(token_rows_shape)

    def _check_length(self, length):
        if length > self.max_position_embeddings:
            raise ValueError(
                f"{self.name} has {self.max_position_embeddings} positions; "
                f"got a sequence of {length}."
            )

    def call(self, token_rows, segment_ids, position_ids=None, training=None):
        dtype = self.variable_dtype
        positions = ops.convert_to_tensor(self.position_table, dtype)
        if position_ids is None:
            positions = positions[: ops.shape(token_rows)[-2]]
        else:
            positions = ops.take(positions, position_ids, axis=0)
        segments = ops.convert_to_tensor(self.segment_table, dtype)
        if self.type_vocab_size > 1:
            # The table is tiny: a product with one-hot ids has a cheaper
            # gradient than a gather.
            one_hot = ops.one_hot(
                segment_ids, self.type_vocab_size, dtype=dtype
            )
            segments = ops.matmul(one_hot, segments)
        rows = ops.cast(token_rows, dtype) + positions + segments
        return self._dropout(self._norm(rows), training=training)

    def compute_output_shape(self, token_rows_shape, *_):
        return token_rows_shape

    def get_config(self):
        return {
            **super().get_config(),
            "max_position_embeddings": self.max_position_embeddings,
            "type_vocab_size": self.type_vocab_size,
            "position_embedding": self.position_embedding,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "dropout": self.dropout,
            "initializer_range": self.initializer_range,
        }


def _sinusoids(length: int, width: int) -> np.ndarray:
    """Returns (length, width): sines in even columns, cosines in odd ones."""
    rates = 10000.0 ** (-np.arange(0, width, 2) / width)
    angles = np.arange(length)[:, None] * rates
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return table.reshape(length, width).astype("float32")
