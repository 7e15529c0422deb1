# SPDX-License-Identifier: Apache-2.0
"""Packs documents into rows of whole sentences, each with its own [CLS]."""

from typing import NamedTuple

import tensorflow as tf

from kbert.features import ENCODER_INPUTS, SENTENCE_INPUTS
from kbert.text.vocabulary import Vocabulary


class SentenceRows(NamedTuple):
    """R rows, in the order of their documents and sentences.

    Attributes:
        ids: (R, None) int32, the tokens of each row, including special tokens.
        positions: (R, None) int32, the position of each sentence's [CLS]; one
            per sentence over all rows.
        truncated: (B, None) bool, True for sentences that lost tokens.
    """

    ids: tf.RaggedTensor
    positions: tf.RaggedTensor
    truncated: tf.RaggedTensor


def sentence_rows(
    sentences: tf.RaggedTensor, *, vocabulary: Vocabulary, seq_length: int
) -> SentenceRows:
    """Packs [CLS] sentence [SEP] ..., as many sentences as fit in a row.

    A document that is longer than a row continues in another, which starts
    with a sentence. A sentence that is longer than a row is truncated. No row
    has sentences of two documents.

    Example: [CLS] 2, [SEP] 3, seq_length 7, documents [[5, 6], [7], [8]] and
    [[], [5, 6, 7, 8, 9, 10]]:
        ids        [[2, 5, 6, 3, 2, 7, 3], [2, 8, 3],
                    [2, 3], [2, 5, 6, 7, 8, 9, 3]]
        positions  [[0, 4], [0], [0], [0]]
        truncated  [[False, False, False], [False, True]]

    Args:
        sentences: (B, None, None) int32, the tokens of each sentence of each
            document.
        vocabulary: the source of [CLS] and [SEP].
        seq_length: maximum tokens per row, including special tokens.
    Raises: ValueError if there is no room for a token.
    """
    room = seq_length - 2
    if room < 1:
        raise ValueError(
            f"seq_length is {seq_length}; needs at least 3, as 2 tokens are "
            "special."
        )
    tokens = sentences.values
    truncated = sentences.with_values(tokens.row_lengths() > room)
    tokens = tokens[:, :room]
    size_N = tokens.row_lengths() + 2
    begins_N = _begin_rows(sentences.with_values(size_N), seq_length).values
    row_N = tf.cumsum(tf.cast(begins_N, tf.int64)) - 1
    count = tf.reduce_sum(tf.cast(begins_N, tf.int64))

    special_N1 = tf.ones_like(size_N[:, tf.newaxis], tf.int32)
    cls_N1 = special_N1 * vocabulary.cls_id
    sep_N1 = special_N1 * vocabulary.sep_id
    wrapped = tf.concat([cls_N1, tokens, sep_N1], axis=1)
    by_row = tf.RaggedTensor.from_value_rowids(
        wrapped, row_N, count, validate=False
    )
    start_N = tf.cumsum(size_N, exclusive=True)
    row_start_N = tf.gather(tf.boolean_mask(start_N, begins_N), row_N)
    position_N = tf.cast(start_N - row_start_N, tf.int32)
    return SentenceRows(
        ids=by_row.merge_dims(1, 2),
        positions=by_row.with_values(position_N),
        truncated=truncated,
    )


def sentence_features(
    ids: tf.RaggedTensor, positions: tf.RaggedTensor, *, vocabulary: Vocabulary
) -> dict[str, tf.Tensor]:
    """Pads rows of sentences to the inputs of a summarizer.

    Example: ids [[2, 5, 6, 3, 2, 7, 3], [2, 8, 3]], positions [[0, 4], [0]],
    [PAD] 0:
        token_ids           [[2, 5, 6, 3, 2, 7, 3], [2, 8, 3, 0, 0, 0, 0]]
        segment_ids         [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]]
        padding_mask        [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0]]
        sentence_positions  [[0, 4], [0, 0]]

    Args:
        ids: (R, None) int32, as in `SentenceRows`.
        positions: (R, None) int32, as in `SentenceRows`.
        vocabulary: the source of [PAD].
    Returns: ENCODER_INPUTS, each (R, S) int32, with segment ids that alternate
        between 0 and 1 (Liu 2019, arXiv:1903.10318, section 2.1), and
        SENTENCE_INPUTS, (R, P) int32.
    """
    token_RS = ids.to_tensor(vocabulary.pad_id)
    mask_RS = tf.ones_like(ids).to_tensor(0)
    cls = tf.stack(
        [positions.value_rowids(), tf.cast(positions.values, tf.int64)], axis=1
    )
    begins_RS = tf.scatter_nd(
        cls,
        tf.ones_like(positions.values),
        tf.shape(token_RS, out_type=tf.int64),
    )
    segment_RS = (tf.cumsum(begins_RS, axis=1) - 1) % 2 * mask_RS
    inputs = (token_RS, segment_RS, mask_RS)
    return {
        **dict(zip(ENCODER_INPUTS, inputs, strict=True)),
        SENTENCE_INPUTS[0]: positions.to_tensor(0),
    }


def is_sentence(sentences: tf.Tensor) -> tf.Tensor:
    """Returns whether each string contains more than white space."""
    return tf.strings.length(tf.strings.strip(sentences)) > 0


def _begin_rows(sizes: tf.RaggedTensor, seq_length: int) -> tf.RaggedTensor:
    """Returns (B, None) bool, True for sentences that start a new row."""
    size_BN = sizes.to_tensor(0)
    # An extra sentence of size 0, as there may be none at all.
    size_NB = tf.transpose(tf.pad(size_BN, [[0, 0], [0, 1]]))

    def step(before, size_B):
        used_B, _ = before
        begins_B = used_B + size_B > seq_length
        return tf.where(begins_B, size_B, used_B + size_B), begins_B

    # Start with a full row, so that the first sentence starts a new one.
    full_B = tf.zeros_like(size_NB[0]) + seq_length
    _, begins_NB = tf.scan(step, size_NB, (full_B, full_B < 0))
    return tf.RaggedTensor.from_tensor(
        tf.transpose(begins_NB), lengths=sizes.row_lengths()
    )
