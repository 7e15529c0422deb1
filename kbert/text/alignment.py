# SPDX-License-Identifier: Apache-2.0
"""Aligns WordPiece tokens with the words and characters of a text."""

from collections.abc import Callable

import tensorflow as tf

NO_LABEL = -1  # for a token that does not start a word


def tokenize_words(
    words: tf.RaggedTensor, tokenizer: Callable[[tf.Tensor], tf.RaggedTensor]
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Tokenizes rows of words and returns the word of each token.

    Example: [["the", "walking"], ["café"]]:
        ids      [[the, walk, ##ing], [caf, ##e]]
        word_of  [[0, 1, 1], [0, 0]]

    Args:
        words: (B, None) string. A word that cleaning empties has no token;
            one with punctuation inside has several, as in running text.
        tokenizer: a `kbert.text.tokenizer.Tokenizer`.
    Returns: ids and word_of, each (B, None) int32; word_of is the index of
        each token's word in its row.
    """
    tokens = tokenizer(words.values)
    index = tf.ragged.range(words.row_lengths()).values
    word_of = tf.repeat(tf.cast(index, tf.int32), tokens.row_lengths())
    ids = words.with_values(tokens).merge_dims(1, 2)
    return ids, ids.with_flat_values(word_of)


def label_first_subwords(
    labels: tf.RaggedTensor, word_of: tf.RaggedTensor
) -> tf.RaggedTensor:
    """Assigns each word's label to its first token, NO_LABEL to the others.

    Devlin et al. 2019, arXiv:1810.04805, section 5.3: only the first
    WordPiece token of a word is classified.

    Example: labels [[7, 8]], word_of [[0, 1, 1]] gives [[7, 8, -1]].

    Args:
        labels: (B, None) int32, one per word.
        word_of: (B, None) int32, from `tokenize_words`.
    Returns: (B, None) int32, one per token.
    """
    first_label = tf.gather(labels.row_starts(), word_of.value_rowids())
    word = first_label + tf.cast(word_of.values, tf.int64)  # in the batch
    before = tf.concat([tf.constant([-1], tf.int64), word[:-1]], 0)
    label = tf.gather(labels.values, word)
    return word_of.with_values(tf.where(word != before, label, NO_LABEL))


def character_offsets(
    texts: tf.Tensor, offsets: tf.RaggedTensor
) -> tf.RaggedTensor:
    """Converts byte offsets to character offsets.

    Example: "日 a" with [0, 3, 4, 5] gives [0, 1, 2, 3].

    Args:
        texts: (B,) string, UTF-8.
        offsets: (B, None) int32, byte offsets of the start of a character or
            the end of the text, as `Tokenizer.with_spans` returns them.
    Returns: (B, None) int32, such that `text.decode()[start:end]` with these
        offsets equals `text[start:end].decode()` with the byte offsets.
    """
    length_B = tf.strings.length(texts)
    all_bytes = tf.io.decode_raw(tf.strings.reduce_join(texts), tf.uint8)
    top_bits = tf.bitwise.bitwise_and(all_bytes, tf.constant(0xC0, tf.uint8))
    starts = top_bits != 0x80  # not a UTF-8 continuation byte
    before = tf.cumsum(tf.cast(starts, tf.int32))
    before = tf.concat([[0], before], 0)  # characters before each byte
    first_B = tf.cumsum(length_B, exclusive=True)
    first = tf.gather(first_B, offsets.value_rowids())
    count = tf.gather(before, first + offsets.values) - tf.gather(before, first)
    return offsets.with_values(count)
