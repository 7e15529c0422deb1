# SPDX-License-Identifier: Apache-2.0
"""Packs token ids into encoder inputs: special tokens, truncation, padding."""

import tensorflow as tf

from kbert.features import ENCODER_INPUTS
from kbert.text.vocabulary import Vocabulary


def pack(
    a: tf.RaggedTensor,
    b: tf.RaggedTensor | None = None,
    *,
    vocabulary: Vocabulary,
    seq_length: int,
    pad_to: int | None = None,
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Packs [CLS] a [SEP], or [CLS] a [SEP] b [SEP], truncated and padded.

    If a pair is too long, tokens are removed from the end of the longer text,
    one at a time, and from `b` if both are equally long
    (google-research/bert, create_pretraining_data.py and run_classifier.py).

    Example: [CLS] 2, [SEP] 3, [PAD] 0, seq_length 7, a = [[5, 6, 7, 8], [5]],
    b = [[9], [9]]: a loses one token, the second row is padded:
        token_ids     [[2, 5, 6, 7, 3, 9, 3], [2, 5, 3, 9, 3, 0, 0]]
        segment_ids   [[0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0, 0]]
        padding_mask  [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]]
        truncated     [True, False]

    Args:
        a: (B, None) int32, the tokens of the first or only text.
        b: (B, None) int32, the tokens of the second text, for pairs.
        vocabulary: the source of [CLS], [SEP] and [PAD].
        seq_length: maximum tokens per row, including special tokens.
        pad_to: S; by default the length of the longest row.
    Returns: ENCODER_INPUTS, each (B, S) int32, and truncated (B,) bool, True
        for rows that lost tokens.
    Raises: ValueError if a length is too small.
    """
    special = 2 if b is None else 3
    room = seq_length - special
    if room < special - 1:
        raise ValueError(
            f"seq_length is {seq_length}; needs at least "
            f"{2 * special - 1}, as {special} tokens are special."
        )
    if pad_to is not None and pad_to < seq_length:
        raise ValueError(f"pad_to {pad_to} is below seq_length {seq_length}.")
    length_a_B = tf.cast(a.row_lengths(), tf.int32)
    if b is None:
        truncated_B = length_a_B > room
        first_B = tf.minimum(length_a_B, room) + 2  # [CLS] a [SEP]
        row_B = first_B
    else:
        length_b_B = tf.cast(b.row_lengths(), tf.int32)
        truncated_B = length_a_B + length_b_B > room
        keep_a_B, keep_b_B = _truncated_lengths(length_a_B, length_b_B, room)
        first_B = keep_a_B + 2
        row_B = first_B + keep_b_B + 1  # b [SEP]
    longest = tf.maximum(tf.reduce_max(row_B), special)  # also without rows
    position_1S = tf.range(longest if pad_to is None else pad_to)[tf.newaxis]
    index_BS, values = _sources(a, b, position_1S, first_B, row_B, vocabulary)
    in_row_BS = position_1S < row_B[:, tf.newaxis]
    second_BS = in_row_BS & (position_1S >= first_B[:, tf.newaxis])
    packed = (
        tf.gather(values, index_BS),
        tf.cast(second_BS, tf.int32),
        tf.cast(in_row_BS, tf.int32),
    )
    return dict(zip(ENCODER_INPUTS, packed, strict=True)), truncated_B


def pack_choices(
    prompts: tf.RaggedTensor,
    choices: tf.RaggedTensor,
    *,
    num_choices: int,
    vocabulary: Vocabulary,
    seq_length: int,
) -> dict[str, tf.Tensor]:
    """Packs each choice as a pair with its prompt.

    Example: prompts [[5, 6], [7]] and choices [[[8], [9]], [[], [8]]] are
    packed as [[5, 6], [8]], [[5, 6], [9]], [[7], []] and [[7], [8]] would be;
    token_ids is [[[2, 5, 6, 3, 8, 3], [2, 5, 6, 3, 9, 3]],
    [[2, 7, 3, 3, 0, 0], [2, 7, 3, 8, 3, 0]]].

    Args:
        prompts: (B, None) int32.
        choices: (B, C, None) int32.
        num_choices: C.
        vocabulary: the source of [CLS], [SEP] and [PAD].
        seq_length: maximum tokens per pair, including special tokens.
    Returns: ENCODER_INPUTS, each (B, C, S) int32.
    Raises: ValueError if the length is too small.
    """
    rows = tf.repeat(tf.range(prompts.nrows()), num_choices)
    inputs, _ = pack(
        tf.gather(prompts, rows),
        choices.merge_dims(0, 1),
        vocabulary=vocabulary,
        seq_length=seq_length,
    )
    return {
        name: tf.reshape(value, [-1, num_choices, tf.shape(value)[1]])
        for name, value in inputs.items()
    }


def positions_of(inputs, token_id: int) -> tf.RaggedTensor:
    """Returns the positions of tokens with an id: (B, None) int32."""
    is_one_BS = is_token(inputs, token_id)
    positions_BS = tf.zeros_like(inputs["token_ids"]) + tf.range(
        tf.shape(is_one_BS)[1]
    )
    return tf.ragged.boolean_mask(positions_BS, is_one_BS)


def is_token(inputs, token_id: int) -> tf.Tensor:
    """Returns (B, S) bool, True for tokens with an id, padding excluded."""
    return (inputs["token_ids"] == token_id) & (inputs["padding_mask"] != 0)


def _truncated_lengths(
    length_a: tf.Tensor, length_b: tf.Tensor, room: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the lengths of `a` and `b` after truncating the longer one.

    A text of at most half the room is never the longer one: it stays whole,
    and the other gets the rest. Two longer texts get half each.
    """
    half_b = room // 2
    half_a = room - half_b
    keep_a = tf.minimum(length_a, tf.maximum(half_a, room - length_b))
    keep_b = tf.minimum(length_b, tf.maximum(half_b, room - length_a))
    return keep_a, keep_b


def _sources(a, b, position_1S, first_B, row_B, vocabulary):
    """Returns the index of each output token in a flat list of ids.

    Returns: index (B, S) int32, and the ids of all `a`, all `b`, then the
        special tokens.
    """
    special = [vocabulary.cls_id, vocabulary.sep_id, vocabulary.pad_id]
    texts = [a.flat_values] if b is None else [a.flat_values, b.flat_values]
    values = tf.concat([*texts, tf.constant(special, tf.int32)], 0)
    pad = tf.size(values) - 1
    sep, cls = pad - 1, pad - 2
    first_B1, row_B1 = first_B[:, tf.newaxis], row_B[:, tf.newaxis]

    start_B1 = tf.cast(a.row_starts(), tf.int32)[:, tf.newaxis]
    index_BS = start_B1 + position_1S - 1
    if b is not None:
        start_B1 = tf.cast(b.row_starts(), tf.int32)[:, tf.newaxis]
        start_B1 += tf.size(a.flat_values)
        index_b_BS = start_B1 + position_1S - first_B1
        index_BS = tf.where(position_1S < first_B1, index_BS, index_b_BS)
    is_sep_BS = (position_1S == first_B1 - 1) | (position_1S == row_B1 - 1)
    index_BS = tf.where(is_sep_BS, sep, index_BS)
    index_BS = tf.where(position_1S < row_B1, index_BS, pad)
    return tf.where(position_1S == 0, cls, index_BS), values
