# SPDX-License-Identifier: Apache-2.0
"""What BERT's cleaning makes of each code point, as Hugging Face does it.

BERT deletes control characters, makes all white space a blank, puts blanks
around punctuation and Chinese characters and, uncased, decomposes, strips
accents and lower-cases. All of this looks at one code point at a time, so it
is a table; and so that no two versions of Unicode can disagree, the table is
read off Hugging Face's own normalizer.

One step looks further: decomposing puts accents in order. It shows only where
two stand in a row that are ordered but not stripped, such as Balinese viramas
and musical stems, and both are in the vocabulary; they are left as they stand.
"""

import functools
import itertools

import numpy as np
from tokenizers import normalizers, pre_tokenizers

from kbert.text import normalizer_model
from kbert.text.vocabulary import Vocabulary

# Characters that no token has, of one, three and four bytes. Clean text is free
# of these, and of other private-use characters.
UNKNOWN, UNKNOWN_3, UNKNOWN_4 = "\x01", "\ue000", "\U000f0000"
_STAND_INS = (range(0xE001, 0xF900), range(0xF0001, 0xFFFFE))
_MARK = "0"  # between characters: nothing but itself becomes a zero
_STAYS = 0


@functools.lru_cache(maxsize=4)
def compile_table(vocabulary: Vocabulary) -> tuple[bytes, list[str]]:
    """The cleaning, spelled so that tf-text splits where BERT does.

    tf-text also splits by a Unicode table of its own. So it gets to see ASCII,
    characters that stand alone between blanks, private-use characters in the
    place of others that a token has, and UNKNOWN for those that none has.

    Returns: a model for tf_text.FastBertNormalizer, and the tokens, spelled
        alike.
    """
    forms, form_of = _clean(
        vocabulary.lower_case,
        bool(vocabulary.strip_accents),
        vocabulary.tokenize_chinese_chars,
    )
    spelling = {}
    stand_ins = map(chr, itertools.chain(*_STAND_INS))
    for c in sorted(set("".join(vocabulary.tokens))):
        alone = "!" <= c <= "~" or forms[form_of[ord(c)]] == f" {c} "
        spelling[c] = c if alone else next(stand_ins, "")
        if not spelling[c]:
            raise ValueError(
                f"the vocabulary has more than {len(spelling):,} different "
                "characters, which is more than kbert's tokenizer can tell "
                "apart."
            )

    strings = {"": 0, UNKNOWN: 1}
    spelled = [
        "".join(c if c.isascii() else spelling.get(c, UNKNOWN) for c in form)
        for form in forms
    ]
    number = [strings.setdefault(form, len(strings)) for form in spelled]
    string_of = np.array(number)[form_of]
    stays = form_of == _STAYS
    string_of[stays] = strings[UNKNOWN]
    for c in spelling:
        if stays[ord(c)]:
            string_of[ord(c)] = strings.setdefault(spelling[c], len(strings))
    string_of[:0x80][stays[:0x80]] = normalizer_model.UNCHANGED
    letters = str.maketrans(spelling)
    model = normalizer_model.build(list(strings), string_of)
    return model, [token.translate(letters) for token in vocabulary.tokens]


@functools.cache
def _clean(
    lower_case: bool, strip_accents: bool, chinese: bool
) -> tuple[list[str], np.ndarray]:
    """What each code point becomes, with blanks around what is a word.

    ASCII punctuation has none: tf-text splits it itself.

    Returns: distinct strings, and which of them each code point becomes; the
        first, _STAYS, says that it stays as it is.
    """
    normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=chinese,
        strip_accents=strip_accents,
        lowercase=lower_case,
    )
    characters = _characters()
    clean = normalizer.normalize_str(_MARK.join(characters))
    clean = clean.translate({ord(c): f" {c} " for c in _punctuation()})
    forms = {_MARK: _STAYS, "": 1}
    form_of = np.full(normalizer_model.CODE_POINTS, _STAYS)
    form_of[0xD800:0xE000] = forms[""]
    for before, after in zip(characters, clean.split(_MARK), strict=True):
        if before != after:
            form_of[ord(before)] = forms.setdefault(after, len(forms))
    return list(forms), form_of


@functools.cache
def _punctuation() -> frozenset[str]:
    """The punctuation that is not ASCII."""
    characters = [c for c in _characters() if not c.isalnum()]
    splitter = pre_tokenizers.BertPreTokenizer()
    words = splitter.pre_tokenize_str(_MARK.join(characters))
    return frozenset(c for c, _ in words if len(c) == 1 and not c.isascii())


@functools.cache
def _characters() -> list[str]:
    """All that text can hold, but _MARK and the planes without characters."""
    planes = (range(p << 16, (p + 1) << 16) for p in (0, 1, 2, 3, 14, 15, 16))
    return [
        chr(c)
        for c in itertools.chain(*planes)
        if not 0xD800 <= c < 0xE000 and chr(c) != _MARK
    ]
