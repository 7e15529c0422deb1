# SPDX-License-Identifier: Apache-2.0
"""Splits texts that are too long for one row into overlapping windows."""

from typing import NamedTuple

import tensorflow as tf

from kbert.text.packing import pack
from kbert.text.vocabulary import Vocabulary
from kbert.window_sizes import WindowSizes


class Windows(NamedTuple):
    """W windows, ordered by row and start.

    Attributes:
        ids: (W, None) int32, the tokens.
        row: (W,) int32, the index of the row that each window comes from.
        start: (W,) int32, the position in that row of its first token.
        best: (W, None) bool, whether the window gives the token more context
            than any other does. True exactly once for each token of a row.
    """

    ids: tf.RaggedTensor
    row: tf.Tensor
    start: tf.Tensor
    best: tf.RaggedTensor


def sliding_windows(
    ids: tf.RaggedTensor, *, length: int | tf.Tensor, stride: int
) -> Windows:
    """Splits each row into windows that start every `stride` tokens.

    The last window of a row ends where the row does. The context of a token is
    the smaller of the numbers of tokens to its left and right. Of windows with
    equal context the longer one is best, then the first (google-research/bert,
    run_squad.py, _check_is_max_context).

    Example: [[5, 6, 7, 8, 9, 10], [11]], length 4, stride 2:
        ids    [[5, 6, 7, 8], [7, 8, 9, 10], [11]]
        row    [0, 0, 1]
        start  [0, 2, 0]
        best   [[T, T, T, F], [F, T, T, T], [T]]

    Args:
        ids: (B, None) int32; a row without tokens gives one empty window.
        length: maximum tokens per window, at least 1: one number for all rows
            or (B,) int32.
        stride: distance between window starts, at least 1; at most the length
            is used, so that there are no gaps.
    Raises: ValueError if a number is too small.
    """
    if stride < 1 or (isinstance(length, int) and length < 1):
        raise ValueError(
            f"length is {length} and stride is {stride}; both need at least 1."
        )
    size_B = tf.cast(ids.row_lengths(), tf.int32)
    length_B = tf.broadcast_to(tf.cast(length, tf.int32), tf.shape(size_B))
    step_B = tf.minimum(length_B, stride)
    count_B = num_windows(size_B, length=length_B, stride=stride)

    row_W = tf.repeat(tf.range(tf.size(count_B)), count_B)
    index_W = tf.ragged.range(count_B).values
    start_W = index_W * tf.gather(step_B, row_W)
    length_W = tf.minimum(
        tf.gather(length_B, row_W), tf.gather(size_B, row_W) - start_W
    )
    first_W = tf.gather(tf.cast(ids.row_starts(), tf.int32), row_W) + start_W
    source = tf.ragged.range(first_W, first_W + length_W)
    best = _has_max_context(source, length_W, count=tf.size(ids.flat_values))
    return Windows(
        ids=source.with_flat_values(tf.gather(ids.flat_values, source.values)),
        row=row_W,
        start=start_W,
        best=source.with_flat_values(best),
    )


def num_windows(
    sizes: tf.Tensor, *, length: int | tf.Tensor, stride: int
) -> tf.Tensor:
    """How many windows `sliding_windows` makes of rows of so many tokens."""
    step = tf.minimum(length, stride)
    beyond = tf.maximum(sizes - length, 0)
    return 1 + (beyond + step - 1) // step  # 1 + ceil


def question_windows(
    questions: tf.RaggedTensor,
    paragraphs: tf.RaggedTensor,
    *,
    seq_length: int,
    max_query_length: int,
    stride: int,
) -> tuple[tf.RaggedTensor, Windows]:
    """Splits paragraphs into windows that fill a row after the question.

    Args:
        questions: (B, None) int32; too long ones are truncated.
        paragraphs: (B, None) int32.
        seq_length: maximum tokens of a row [CLS] question [SEP] window [SEP].
        max_query_length: maximum tokens of a question.
        stride: distance between window starts.
    Returns: the truncated questions, (B, None) int32, and the windows.
    Raises: ValueError if a question may leave no room for a paragraph.
    """
    if max_query_length > seq_length - 4:
        raise ValueError(
            f"max_query_length is {max_query_length}; needs at most "
            f"{seq_length - 4}, as rows have {seq_length} tokens "
            "(max_seq_length)."
        )
    questions = questions[:, :max_query_length]
    length_B = seq_length - 3 - tf.cast(questions.row_lengths(), tf.int32)
    return questions, sliding_windows(
        paragraphs, length=length_B, stride=stride
    )


def pack_texts(
    *texts: tf.RaggedTensor,
    vocabulary: Vocabulary,
    seq_length: int,
    windows: WindowSizes | None = None,
) -> dict[str, tf.Tensor]:
    """Packs texts truncated, or a text in windows.

    Example: [CLS] 2, [SEP] 3, [PAD] 0, windows of 4 tokens of which two are
    special, stride 1; the texts [5, 6, 7] and [8] have two windows and one,
    and [CLS] alone fills up:
        token_ids  [[[2, 5, 6, 3], [2, 6, 7, 3]], [[2, 8, 3, 0], [2, 0, 0, 0]]]

    Args:
        *texts: (B, None) int32, a text or a pair; of windows a text.
        vocabulary: the source of [CLS], [SEP] and [PAD].
        seq_length: maximum tokens of a row.
        windows: None to truncate.
    Returns: ENCODER_INPUTS, each (B, S) int32; or (B, N, S), N the most
        windows of a text in the batch.
    """
    if windows is None:
        return pack(*texts, vocabulary=vocabulary, seq_length=seq_length)[0]
    (tokens,) = texts
    cut = sliding_windows(
        tokens[:, : windows.most_tokens],
        length=seq_length - 2,
        stride=windows.stride,
    )
    packed, _ = pack(cut.ids, vocabulary=vocabulary, seq_length=seq_length)
    count = tf.size(cut.row)
    source_BN = tf.RaggedTensor.from_value_rowids(
        tf.range(count), tf.cast(cut.row, tf.int64), tokens.nrows()
    ).to_tensor(count)
    is_first_1S = tf.range(tf.shape(packed["token_ids"])[1])[tf.newaxis] == 0
    alone = ((vocabulary.cls_id, vocabulary.pad_id), (0, 0), (1, 0))
    inputs = {}
    for (name, rows_WS), values in zip(packed.items(), alone, strict=True):
        rows = tf.concat([rows_WS, tf.where(is_first_1S, *values)], 0)
        inputs[name] = tf.gather(rows, source_BN)
    return inputs


def _has_max_context(source, length_W, *, count) -> tf.Tensor:
    """Returns, for each token of each window, whether the window is its best.

    `source` (W, None) is the index of each token among `count` tokens.
    """
    window = tf.cast(source.value_rowids(), tf.int32)
    left = tf.ragged.range(length_W).values
    length = tf.gather(length_W, window)
    # run_squad.py adds 0.01 times the length.
    score = 100 * tf.minimum(left, length - 1 - left) + length
    token = source.values
    highest = tf.math.unsorted_segment_max(score, token, count)
    is_highest = score == tf.gather(highest, token)
    candidate = tf.where(is_highest, window, tf.size(length_W))
    first = tf.math.unsorted_segment_min(candidate, token, count)
    return window == tf.gather(first, token)
