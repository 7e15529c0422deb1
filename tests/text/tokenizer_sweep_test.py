# SPDX-License-Identifier: Apache-2.0
"""Ids and spans against Hugging Face's tokenizers, on a great many texts.

`make test` takes a sample of each sweep, `make test-all` the whole.
"""

import functools
import itertools
import random
import unicodedata

import pytest
import tensorflow as tf
import tokenizers

from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

SURROGATES = range(0xD800, 0xE000)
# Characters whose every occurrence shows in the ids, as each is a token.
LETTERS = [
    chr(c)
    for c in (
        *range(0x20, 0x3200),
        *range(0xA000, 0xAC00),
        *range(0xF900, 0xFFFD),
    )
    if not chr(c).isspace()
]
LETTERS += "一丁乙人日本語中文𠀀𫠠각한😀👍𝒜𐐷각"
LETTERS = sorted(set(LETTERS))
TOKENS = (
    *SPECIAL_TOKENS,
    *LETTERS,
    *(f"##{c}" for c in LETTERS),
    *("the", "walk", "##ing", "caf", "##fe", "日本", "नम", "##स्"),
)


@functools.cache
def both(lower_case):
    """Our tokenizer, and theirs, in which no text spells a special token."""
    ids = {token: i for i, token in enumerate(TOKENS)}
    theirs = tokenizers.BertWordPieceTokenizer(ids, lowercase=lower_case)
    theirs._tokenizer.encode_special_tokens = True
    return Tokenizer(Vocabulary(TOKENS, lower_case)), theirs


def differences(texts, ours, theirs):
    """(text, our ids, theirs) wherever the two differ."""
    got = ours(tf.constant(texts)).to_list()
    want = theirs.encode_batch(texts, add_special_tokens=False)
    rows = zip(texts, got, want, strict=True)
    return [(text, ids, row.ids) for text, ids, row in rows if ids != row.ids]


def code_points(step):
    """All up to U+3200 and then every `step`-th."""
    every = (*range(0x3200), *range(0x3200, 0x110000, step))
    return [c for c in every if c not in SURROGATES]


@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
@pytest.mark.parametrize(
    "step", [61, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_every_code_point_between_two_letters(lower_case, step):
    texts = [f"a{chr(c)}b" for c in code_points(step)]
    differ = [text[1] for text, *_ in differences(texts, *both(lower_case))]
    assert not [f"U+{ord(c):04X} {unicodedata.category(c)}" for c in differ], (
        "code points on which the tokenizer and the reference disagree"
    )


def random_texts(count, seed):
    """Words of many scripts and what stands between and inside them."""
    draw = random.Random(seed)

    def of(*ranges):
        return [chr(c) for r in ranges for c in r if chr(c).isprintable()]

    scripts = [
        *(of(range(0x61, 0x7B)), of(range(0x41, 0x5B)), of(range(0x21, 0x7F))),
        *(of(range(0xC0, 0x250)), of(range(0x1E00, 0x2000))),
        *(
            of(range(0x370, 0x400)),
            list("ΑΣσςΐΰİıſẞßŒǅ"),
            of(range(0x400, 0x530)),
        ),
        *(of(range(0x5D0, 0x5EB)), of(range(0x621, 0x653))),
        *(
            of(range(0x905, 0x94E)),
            of(range(0xE01, 0xE4E)),
            of(range(0xF40, 0xFBD)),
        ),
        *(of(range(0x4E00, 0x4E40)), of(range(0xF900, 0xFA30)), list("𠀀𫠠𮯡")),
        *(
            of(range(0x3041, 0x30FB)),
            of(range(0xAC00, 0xAE00)),
            of(range(0x1100, 0x1200)),
        ),
        *(of(range(0x1F300, 0x1F650)), of(range(0x1D400, 0x1D500))),
        *(
            of(range(0x10400, 0x10450)),
            of(range(0x2010, 0x2060), range(0x3001, 0x3020)),
        ),
        [
            chr(c)
            for c in range(0x110000)
            if c % 97 == 0 and c not in SURROGATES
        ],
    ]
    inside = [
        *map(chr, range(0x300, 0x370)),
        *("\u0483", "\u05b0", "\u064b", "\u093c", "\u0e31", "\u3099", "\u20dd"),
        *("\u200b", "\u200d", "\u00ad", "\ufeff", "\u2060", "\ufe0f", "\u180e"),
        *("\x00", "\x07", "\x0b", "\x7f", "\x85", "\x9f", "\ue000", "\ufffd"),
    ]  # fmt: skip
    blanks = list(" \t\n\r\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000")

    def word():
        letters = draw.choice(scripts)
        length = draw.choice([1, 2, 3, 5, 8, 8, 13])
        if draw.random() < 0.01:
            length = draw.choice([34, 98, 99, 100, 101, 102, 150, 300, 500])
        letters = [draw.choice(letters) for _ in range(length)]
        for _ in range(draw.choice([0, 0, 0, 1, 1, 4])):
            letters.insert(draw.randint(0, len(letters)), draw.choice(inside))
        return "".join(letters)

    def text():
        words = [word() for _ in range(draw.choice([0, 1, 2, 4, 8]))]
        between = [draw.choice(["", " ", *blanks]) for _ in words]
        return "".join(map(str.__add__, words, between))

    return [text() for _ in range(count)]


def spans_of(texts, theirs):
    """Their spans in bytes, stretched over the accents that are stripped.

    None for a text with a mark that is ordered but not stripped: theirs then
    are those of the characters before they were put in order.
    """
    clean = theirs._tokenizer.normalizer.normalize_str
    marks = {c for c in "".join(texts) if unicodedata.category(c) == "Mn"}
    marks = {c for c in marks if not clean(c)}
    encoded = theirs.encode_batch(texts, add_special_tokens=False)
    for text, row in zip(texts, encoded, strict=True):
        spans = []
        if marks and any(
            unicodedata.combining(c) and c not in marks for c in text
        ):
            yield None
            continue
        ends_here = (len(text), len(text))
        after_each = itertools.pairwise([*row.offsets, ends_here])
        for (start, end), (following, _) in after_each:
            # Of tokens that share a character the last one has its accents.
            last = following >= end
            while last and end < len(text) and text[end] in marks:
                end += 1
            spans.append((len(text[:start].encode()), len(text[:end].encode())))
        yield spans


@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
@pytest.mark.parametrize(
    "count",
    [3_000, pytest.param(100_000, marks=pytest.mark.slow)],
)
def test_random_texts(lower_case, count):
    ours, theirs = both(lower_case)
    texts = random_texts(count, seed=20181011)
    assert not differences(texts, ours, theirs)[:3]
    ids, starts, ends = ours.with_spans(tf.constant(texts))
    assert ids.to_list() == ours(tf.constant(texts)).to_list()
    spans = (
        list(zip(*row, strict=True))
        for row in zip(starts.to_list(), ends.to_list(), strict=True)
    )
    rows = zip(texts, spans, spans_of(texts, theirs), strict=True)
    assert not [
        (text, got, want)
        for text, all_got, all_want in rows
        if all_want is not None
        for got, want in zip(all_got, all_want, strict=True)
        if got != want
    ][:3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vocabulary", "lower_case"),
    [("base-uncased", True), ("base-cased", False), ("base-chinese", True)],
)
def test_every_line_of_the_data(data_dir, vocabulary, lower_case):
    path = data_dir / "vocab" / f"bert-{vocabulary}-vocab.txt"
    ours = Tokenizer(Vocabulary.load(path, lower_case))
    theirs = tokenizers.BertWordPieceTokenizer(str(path), lowercase=lower_case)
    theirs._tokenizer.encode_special_tokens = True
    files = [f for f in sorted(data_dir.rglob("*.*")) if f.is_file()]
    assert files
    lines = 0
    for file in files:
        # As bytes, like a file that is read in the graph; one is Latin-1.
        raw = file.read_bytes().splitlines()
        texts = [line.decode("utf-8", "replace") for line in raw]
        want = theirs.encode_batch(texts, add_special_tokens=False)
        got = ours(tf.constant(raw)).to_list()
        for line, ids, row in zip(raw, got, want, strict=True):
            assert ids == row.ids, (file, line)
        lines += len(raw)
    assert lines > 100_000
