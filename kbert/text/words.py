# SPDX-License-Identifier: Apache-2.0
"""Finds the words of running text."""

import tensorflow as tf

# Cleaning replaces white space by blanks, splits off punctuation, and puts
# blanks around Chinese characters.
_SPACE = r"\C*[ \t\n\r\p{Z}]\C*"  # \C: any byte, UTF-8 or not
_PUNCTUATION = r"[!-/:-@\[-`{-~\p{P}]\p{M}*"
_CHINESE = (
    r"[\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}"
    r"\x{20000}-\x{2ceaf}\x{2f800}-\x{2fa1f}]\p{M}*"
)
_LETTER = r"\p{L}\p{M}*"
_OPENS = r"[.(\[\"“‘«„]"  # may precede an initial


def word_starts(
    texts: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tf.RaggedTensor:
    """Finds the tokens that start a word, by the conventions of tagged corpora.

    White space separates words. A Chinese character is a word. In the rest,
    each punctuation mark before the first other character and after the last
    one is a word. Marks further inside belong to the word, as do the full
    stops of initials, but a final 's is a separate word.

    Example: `"J. Smith's U.S.-based co-op (日本)."` is
        " J. Smith 's U.S.-based co-op ( 日 本 ) . "

    Args:
        texts: (B,) string.
        starts: (B, None) int32, from `Tokenizer.with_spans`.
        ends: (B, None) int32, from `Tokenizer.with_spans`.
    Returns: (B, None) bool.
    """
    row = starts.value_rowids()
    start, end = starts.values, ends.values
    token = _substrings(texts, row, start, end)
    first = tf.concat([row[:1] + 1, row[:-1]], 0) != row
    gap_start = tf.concat([start[:1], end[:-1]], 0)
    gap_start = tf.where(first, start, tf.minimum(gap_start, start))
    gap = _substrings(texts, row, gap_start, start)

    chinese = tf.strings.regex_full_match(token, _CHINESE)
    starts_chunk = first | tf.strings.regex_full_match(gap, _SPACE)
    starts_chunk |= chinese | _previous(chinese)
    return starts.with_values(_starts_in_chunks(token, starts_chunk))


def _substrings(texts, row, start, end) -> tf.Tensor:
    """Returns the bytes from `start` to `end` of the text of each row.

    `tf.strings.substr` would need a copy of the whole text for each.
    """
    all_bytes = tf.strings.bytes_split(tf.strings.reduce_join(texts))
    first_B = tf.cumsum(tf.strings.length(texts), exclusive=True)
    first = tf.gather(first_B, row)
    index = tf.ragged.range(first + start, first + end)
    return tf.strings.unsorted_segment_join(
        tf.gather(all_bytes, index.values), index.value_rowids(), index.nrows()
    )


def _starts_in_chunks(token, starts_chunk) -> tf.Tensor:
    """Returns which tokens start a word, given those that start a chunk.

    A chunk is a Chinese character, or text between these and white space.
    """
    index = tf.range(tf.size(token))
    chunk = tf.cumsum(tf.cast(starts_chunk, tf.int32)) - 1
    num_chunks = tf.reduce_sum(tf.cast(starts_chunk, tf.int32))
    mark = tf.strings.regex_full_match(token, _PUNCTUATION)
    letter = tf.strings.regex_full_match(token, _LETTER)
    opens = tf.strings.regex_full_match(token, _OPENS)
    initial = letter & (starts_chunk | _previous(opens))
    inner = ~mark | ((token == ".") & _previous(initial) & ~starts_chunk)
    first = tf.math.unsorted_segment_min(
        tf.where(inner, index, tf.size(token)), chunk, num_chunks
    )
    last = tf.math.unsorted_segment_max(
        tf.where(inner, index, -1), chunk, num_chunks
    )
    first, last = tf.gather(first, chunk), tf.gather(last, chunk)

    is_s = tf.strings.regex_full_match(token, "[sS]")
    apostrophe = tf.strings.regex_full_match(token, "['’]")
    after = is_s & (index == last) & ~starts_chunk & _previous(apostrophe)
    before = tf.concat([after[1:], tf.zeros_like(after[:1])], 0)
    return starts_chunk | (
        ((index <= first) | (index > last) | before) & ~after
    )


def _previous(flag) -> tf.Tensor:
    """Returns the flag of the token before each token."""
    return tf.concat([tf.zeros_like(flag[:1]), flag[:-1]], 0)
