# SPDX-License-Identifier: Apache-2.0
"""Where the words of running text begin."""

import tensorflow as tf

# What cleaning makes a blank, splits off, and puts blanks around.
_SPACE = r"\C*[ \t\n\r\p{Z}]\C*"  # of any bytes, UTF-8 or not
_PUNCTUATION = r"[!-/:-@\[-`{-~\p{P}]\p{M}*"
_CHINESE = (
    r"[\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}"
    r"\x{20000}-\x{2ceaf}\x{2f800}-\x{2fa1f}]\p{M}*"
)
_LETTER = r"\p{L}\p{M}*"
_OPENS = r"[.(\[\"“‘«„]"  # may stand before an initial


def begin_words(
    texts: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tf.RaggedTensor:
    """Tells which pieces of texts begin a word, as tagged files part words.

    White space parts words. A Chinese character is a word. Of what remains,
    each punctuation mark before the first other character and after the last
    is a word. Marks further inside belong to the word, and so do the full
    stops of initials, but an 's at its end is a word of its own.

    Example: `"J. Smith's U.S.-based co-op (日本)."` is
        " J. Smith 's U.S.-based co-op ( 日 本 ) . "

    Args:
        texts: (B,) string.
        starts: (B, None) int32, of `Tokenizer.with_spans`.
        ends: likewise.
    Returns: (B, None) bool.
    """
    row = starts.value_rowids()
    start, end = starts.values, ends.values
    piece = _parts_of(texts, row, start, end)
    first = tf.concat([row[:1] + 1, row[:-1]], 0) != row
    gap_start = tf.concat([start[:1], end[:-1]], 0)
    gap_start = tf.where(first, start, tf.minimum(gap_start, start))
    gap = _parts_of(texts, row, gap_start, start)

    chinese = tf.strings.regex_full_match(piece, _CHINESE)
    part = first | tf.strings.regex_full_match(gap, _SPACE)
    part |= chinese | _before(chinese)
    begin = _begin_in_parts(piece, part)
    return starts.with_values(begin)


def _parts_of(texts, row, start, end) -> tf.Tensor:
    """The bytes from `start` to `end` of the text of each row.

    `substr` would want the whole text once for each.
    """
    every = tf.strings.bytes_split(tf.strings.reduce_join(texts))
    first_B = tf.cumsum(tf.strings.length(texts), exclusive=True)
    first = tf.gather(first_B, row)
    place = tf.ragged.range(first + start, first + end)
    return tf.strings.unsorted_segment_join(
        tf.gather(every, place.values), place.value_rowids(), place.nrows()
    )


def _begin_in_parts(piece, part) -> tf.Tensor:
    """Which pieces begin a word, where `part` is True for some that do."""
    place = tf.range(tf.size(piece))
    number = tf.cumsum(tf.cast(part, tf.int32)) - 1  # of the part
    parts = tf.reduce_sum(tf.cast(part, tf.int32))
    mark = tf.strings.regex_full_match(piece, _PUNCTUATION)
    letter = tf.strings.regex_full_match(piece, _LETTER)
    opens = tf.strings.regex_full_match(piece, _OPENS)
    initial = letter & (part | _before(opens))
    inner = ~mark | ((piece == ".") & _before(initial) & ~part)
    first = tf.math.unsorted_segment_min(
        tf.where(inner, place, tf.size(piece)), number, parts
    )
    last = tf.math.unsorted_segment_max(
        tf.where(inner, place, -1), number, parts
    )
    first, last = tf.gather(first, number), tf.gather(last, number)

    is_s = tf.strings.regex_full_match(piece, "[sS]")
    apostrophe = tf.strings.regex_full_match(piece, "['’]")
    after = is_s & (place == last) & ~part & _before(apostrophe)
    before = tf.concat([after[1:], tf.zeros_like(after[:1])], 0)
    return part | (((place <= first) | (place > last) | before) & ~after)


def _before(flag) -> tf.Tensor:
    """The flag of the piece before each."""
    return tf.concat([tf.zeros_like(flag[:1]), flag[:-1]], 0)
