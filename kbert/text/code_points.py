# SPDX-License-Identifier: Apache-2.0
"""Compiles BERT's text cleaning to a table of code points.

BERT deletes control characters, replaces white space by a blank, puts blanks
around punctuation and Chinese characters and, if uncased, decomposes, strips
accents and lower-cases. All of this treats one code point at a time, so a
table can hold it. The table is generated with Hugging Face's normalizer, so
that both have the same version of Unicode.

One step is not in the table: decomposition also sorts accents. This matters
only for two adjacent accents that are sorted but not stripped, such as
Balinese viramas and musical stems, and are both in the vocabulary. They keep
their order.
"""

import functools
import itertools

import numpy as np
from tokenizers import normalizers, pre_tokenizers

from kbert.text import normalizer_model
from kbert.text.vocabulary import Vocabulary

# Characters of one, three and four bytes that no token contains. Clean text has
# none of these and no other private-use characters.
UNKNOWN, UNKNOWN_3, UNKNOWN_4 = "\x01", "\ue000", "\U000f0000"
_REPLACEMENTS = (range(0xE001, 0xF900), range(0xF0001, 0xFFFFE))
_SEPARATOR = "0"  # no other character becomes a zero
_UNCHANGED = 0


@functools.lru_cache(maxsize=4)
def compile_table(vocabulary: Vocabulary) -> tuple[bytes, list[str]]:
    """Compiles the cleaning so that tf-text splits words where BERT does.

    tf-text also splits by its own Unicode table. So the cleaned text contains
    only ASCII, characters that stand alone between blanks, private-use
    characters that replace the other characters of tokens, and UNKNOWN for
    characters that no token contains.

    Returns: a model for tf_text.FastBertNormalizer, and the tokens with the
        same replacements.
    """
    forms, form_of = _clean(
        vocabulary.lower_case,
        bool(vocabulary.strip_accents),
        vocabulary.tokenize_chinese_chars,
    )
    spelling = {}
    replacements = map(chr, itertools.chain(*_REPLACEMENTS))
    for c in sorted(set("".join(vocabulary.tokens))):
        alone = "!" <= c <= "~" or forms[form_of[ord(c)]] == f" {c} "
        spelling[c] = c if alone else next(replacements, "")
        if not spelling[c]:
            raise ValueError(
                f"the vocabulary has more than {len(spelling):,} different "
                "characters, which is more than kbert's tokenizer supports."
            )

    strings = {"": 0, UNKNOWN: 1}
    spelled = [
        "".join(c if c.isascii() else spelling.get(c, UNKNOWN) for c in form)
        for form in forms
    ]
    number = [strings.setdefault(form, len(strings)) for form in spelled]
    string_of = np.array(number)[form_of]
    unchanged = form_of == _UNCHANGED
    string_of[unchanged] = strings[UNKNOWN]
    for c in spelling:
        if unchanged[ord(c)]:
            string_of[ord(c)] = strings.setdefault(spelling[c], len(strings))
    string_of[:0x80][unchanged[:0x80]] = normalizer_model.UNCHANGED
    letters = str.maketrans(spelling)
    model = normalizer_model.build(list(strings), string_of)
    return model, [token.translate(letters) for token in vocabulary.tokens]


@functools.cache
def _clean(
    lower_case: bool, strip_accents: bool, chinese: bool
) -> tuple[list[str], np.ndarray]:
    """Cleans each code point, with blanks around those that are a word.

    ASCII punctuation gets no blanks: tf-text splits at it.

    Returns: distinct strings, and for each code point the index of the string
        that replaces it; index _UNCHANGED means that the code point stays.
    """
    normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=chinese,
        strip_accents=strip_accents,
        lowercase=lower_case,
    )
    characters = _characters()
    clean = normalizer.normalize_str(_SEPARATOR.join(characters))
    clean = clean.translate({ord(c): f" {c} " for c in _punctuation()})
    forms = {_SEPARATOR: _UNCHANGED, "": 1}
    form_of = np.full(normalizer_model.CODE_POINTS, _UNCHANGED)
    form_of[0xD800:0xE000] = forms[""]
    for before, after in zip(characters, clean.split(_SEPARATOR), strict=True):
        if before != after:
            form_of[ord(before)] = forms.setdefault(after, len(forms))
    return list(forms), form_of


@functools.cache
def _punctuation() -> frozenset[str]:
    """Returns the punctuation that is not ASCII."""
    characters = [c for c in _characters() if not c.isalnum()]
    splitter = pre_tokenizers.BertPreTokenizer()
    words = splitter.pre_tokenize_str(_SEPARATOR.join(characters))
    return frozenset(c for c, _ in words if len(c) == 1 and not c.isascii())


@functools.cache
def _characters() -> list[str]:
    """Returns all characters except _SEPARATOR and the unused planes."""
    planes = (range(p << 16, (p + 1) << 16) for p in (0, 1, 2, 3, 14, 15, 16))
    return [
        chr(c)
        for c in itertools.chain(*planes)
        if not 0xD800 <= c < 0xE000 and chr(c) != _SEPARATOR
    ]
