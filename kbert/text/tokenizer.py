# SPDX-License-Identifier: Apache-2.0
"""BERT's tokenizer as TensorFlow operations."""

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from kbert.text import code_points
from kbert.text.vocabulary import UNK, Vocabulary

_WORD_LIMIT = 100  # characters; a longer word is [UNK]
_IN_WORD = r"[^ !-/:-@\[-`{-~]"  # in clean text
# Characters that no token contains; each replaces one of as many bytes.
_UNKNOWN = {
    r"[\x010-9A-Za-z]": code_points.UNKNOWN,
    r"[\x{80}-\x{ffff}]": code_points.UNKNOWN_3,
    r"[\x{10000}-\x{10ffff}]": code_points.UNKNOWN_4,
}


class Tokenizer(tf.Module):
    """BERT's tokenizer: cleans text, splits it into words and WordPiece tokens.

    Call: texts (B,) string -> RaggedTensor (B, None) int32.

    The ids equal those of Hugging Face's `BertWordPieceTokenizer`.
    google-research/bert cleans text in the same way, except for its word limit
    (200 characters, here 100) and the final sigma. Bytes that are not UTF-8
    are deleted, as U+FFFD is. Text is never read as a special token: "[MASK]"
    is the words "[", "mask" and "]", as in google-research/bert.

    Source: Devlin et al. 2019, arXiv:1810.04805, section 3; Song et al.
    2021, arXiv:2012.15524, for the algorithm.
    """

    def __init__(self, vocabulary: Vocabulary):
        super().__init__(name="tokenizer")
        self.vocabulary = vocabulary
        model, tokens = code_points.compile_table(vocabulary)
        self._cleaner = tf_text.FastBertNormalizer(
            model_buffer=tf.constant(np.frombuffer(model, np.uint8))
        )
        self._pieces = tf_text.FastWordpieceTokenizer(
            tokens,
            token_out_type=tf.int32,
            unknown_token=UNK,
            max_bytes_per_word=4 * _WORD_LIMIT,
        )

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        clean = self._cleaner.normalize(_in_one_axis(texts))
        return self._pieces.tokenize(_mark_long_words(clean))

    def with_spans(
        self, texts: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        r"""Tokenizes texts and returns the byte span of each token.

        A span is [start, end) and covers whole characters, so the spans of
        tokens that share a character overlap. The accents after a letter
        belong to its last token; other deleted characters belong to no token.

        Example: "the Cafe\u0301" as the, caf, ##e: starts [0, 4, 7], ends
        [3, 7, 10].

        Returns: ids, starts and ends, each (B, None) int32.
        """
        texts = _in_one_axis(texts)
        clean, origins = self._cleaner.normalize_with_offsets(texts)
        ids, first, last = self._pieces.tokenize_with_offsets(
            _mark_long_words(clean)
        )
        row = ids.value_rowids()
        offset = tf.gather(origins.row_starts(), row)
        start = tf.gather(origins.values, offset + first.values)
        stop = offset + last.values
        # Every byte of a clean character maps to its original's first byte.
        final = tf.gather(origins.values, stop - 1)
        # The next character, after the blank that punctuation gets.
        is_blank = tf.gather(origins.values, stop) == final
        follower = tf.gather(origins.values, stop + tf.cast(is_blank, tf.int64))
        end = final + _character_lengths(texts, row, final)
        end += _accent_lengths(texts, row, end, follower)
        return (
            ids,
            ids.with_flat_values(tf.cast(start, tf.int32)),
            ids.with_flat_values(tf.cast(end, tf.int32)),
        )

    def decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Joins tokens, with a blank between words: (B, None) -> (B,) string.

        Cleaning and the original blanks cannot be undone. An id without a
        token, such as that of a spare row of the token table, becomes [UNK].

        Example: the, walk, ##ing, [SEP] is "the walking [SEP]".
        """
        size = len(self.vocabulary)
        ids = tf.ragged.map_flat_values(
            lambda ids: tf.where(
                (ids >= 0) & (ids < size), ids, self.vocabulary.unk_id
            ),
            ids,
        )
        tokens = tf.gather(tf.constant(self.vocabulary.tokens), ids)
        text = tf.strings.reduce_join(tokens, axis=-1, separator=" ")
        return tf.strings.regex_replace(text, " ##", "")


def _in_one_axis(texts) -> tf.Tensor:
    """Checks the rank: at another one the ops read out of bounds."""
    texts = tf.convert_to_tensor(texts, tf.string)
    if texts.shape.rank == 1:  # known, so no check in the graph
        return texts
    return tf.ensure_shape(texts, [None])


def _mark_long_words(clean: tf.Tensor) -> tf.Tensor:
    """Makes words over the limit unknown without changing their byte length."""
    pattern = f"(?s).*{_IN_WORD}{{{_WORD_LIMIT + 1}}}.*"

    def mark():
        marked = clean
        for character, unknown in _UNKNOWN.items():
            marked = tf.strings.regex_replace(
                marked,
                f"{character}({_IN_WORD}{{{_WORD_LIMIT}}})",
                rf"{unknown}\1",
            )
        return marked

    any_long = tf.reduce_any(tf.strings.regex_full_match(clean, pattern))
    return tf.cond(any_long, mark, lambda: clean)


def _character_lengths(texts, row, start) -> tf.Tensor:
    """Returns the number of bytes of the characters that start at `start`."""
    lengths = tf.cast(tf.strings.length(texts), tf.int64)
    all_bytes = tf.io.decode_raw(tf.strings.reduce_join(texts), tf.uint8)
    at = tf.gather(tf.cumsum(lengths, exclusive=True), row) + start
    by_first_byte = np.repeat([1, 2, 3, 4], [0xC0, 0x20, 0x10, 0x10])
    first = tf.cast(tf.gather(all_bytes, at), tf.int32)
    return tf.gather(tf.constant(by_first_byte, tf.int64), first)


def _accent_lengths(texts, row, end, follower) -> tf.Tensor:
    """Returns the number of bytes of accents between `end` and `follower`."""
    at = tf.where(end < follower)  # where something was deleted
    row, begin, stop = (tf.gather_nd(x, at) for x in (row, end, follower))
    deleted = tf.strings.substr(tf.gather(texts, row), begin, stop - begin)
    rest = tf.strings.regex_replace(deleted, r"^\p{M}+", "")
    lengths = stop - begin - tf.cast(tf.strings.length(rest), tf.int64)
    return tf.scatter_nd(at, lengths, tf.shape(end, tf.int64))
