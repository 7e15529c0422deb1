# SPDX-License-Identifier: Apache-2.0
"""Between word pieces and what a user counts in: words and characters."""

from collections.abc import Callable

import tensorflow as tf

NO_LABEL = -1  # of a piece that does not begin a word


def tokenize_words(
    words: tf.RaggedTensor, tokenizer: Callable[[tf.Tensor], tf.RaggedTensor]
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Cuts rows of given words into pieces that know their word.

    Example: [["the", "walking"], ["café"]]:
        ids      [[the, walk, ##ing], [caf, ##e]]
        word_of  [[0, 1, 1], [0, 0]]

    Args:
        words: (B, None) string. A word of which cleaning leaves nothing has
            no piece; one with punctuation inside has several, as in a text.
        tokenizer: a `kbert.text.tokenizer.Tokenizer`.
    Returns: ids and word_of, each (B, None) int32; word_of is the place of a
        piece's word in its row.
    """
    pieces = tokenizer(words.values)
    place = tf.ragged.range(words.row_lengths()).values
    word_of = tf.repeat(tf.cast(place, tf.int32), pieces.row_lengths())
    ids = words.with_values(pieces).merge_dims(1, 2)
    return ids, ids.with_flat_values(word_of)


def label_first_pieces(
    labels: tf.RaggedTensor, word_of: tf.RaggedTensor
) -> tf.RaggedTensor:
    """Gives each word's label to its first piece, NO_LABEL to the others.

    Devlin et al. 2019, arXiv:1810.04805, section 5.3: only a word's first
    piece is classified.

    Example: labels [[7, 8]], word_of [[0, 1, 1]] gives [[7, 8, -1]].

    Args:
        labels: (B, None) int32, one a word.
        word_of: (B, None) int32, of `tokenize_words`.
    Returns: (B, None) int32, one a piece.
    """
    first_label = tf.gather(labels.row_starts(), word_of.value_rowids())
    word = first_label + tf.cast(word_of.values, tf.int64)  # in the batch
    before = tf.concat([tf.constant([-1], tf.int64), word[:-1]], 0)
    label = tf.gather(labels.values, word)
    return word_of.with_values(tf.where(word != before, label, NO_LABEL))


def character_offsets(
    texts: tf.Tensor, offsets: tf.RaggedTensor
) -> tf.RaggedTensor:
    """Turns places counted in bytes into places counted in characters.

    Example: "日 a" with [0, 3, 4, 5] gives [0, 1, 2, 3].

    Args:
        texts: (B,) string, UTF-8.
        offsets: (B, None) int32, of bytes, each where a character begins or
            the text ends, as `Tokenizer.with_spans` gives them.
    Returns: (B, None) int32: `text.decode()[start:end]` is the same text as
        `text[start:end].decode()` with the bytes'.
    """
    length_B = tf.strings.length(texts)
    every = tf.io.decode_raw(tf.strings.reduce_join(texts), tf.uint8)
    begins = tf.bitwise.bitwise_and(every, tf.constant(0xC0, tf.uint8)) != 0x80
    before = tf.cumsum(tf.cast(begins, tf.int32))
    before = tf.concat([[0], before], 0)  # characters before each byte
    first_B = tf.cumsum(length_B, exclusive=True)
    first = tf.gather(first_B, offsets.value_rowids())
    count = tf.gather(before, first + offsets.values) - tf.gather(before, first)
    return offsets.with_values(count)
