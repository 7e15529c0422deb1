# SPDX-License-Identifier: Apache-2.0
"""Words of running text, by hand and inside Dataset.map."""

import random
import re
import resource
import string

import pytest
import tensorflow as tf

from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from kbert.text.words import word_starts

LETTERS = "abcdehijmnorstux"
TOKENS = (
    *SPECIAL_TOKENS,
    *LETTERS,
    *(f"##{c}" for c in LETTERS),
    *"'’.,-()\"$日。",
)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(Vocabulary(TOKENS, True))


def words_of(texts, tokenizer):
    """Each text's words, from the first byte of one to its last subword's."""
    raw = [t if isinstance(t, bytes) else t.encode() for t in texts]
    (result,) = tf.data.Dataset.from_tensors(tf.constant(raw)).map(
        lambda texts: _spans(texts, tokenizer)
    )
    found = []
    for text, *row in zip(raw, *(x.to_list() for x in result), strict=True):
        spans = []
        for begin, start, end in zip(*row, strict=True):
            if begin:
                spans.append([start, end])
            spans[-1][1] = end
        found.append([text[a:b].decode("utf-8", "replace") for a, b in spans])
    return found


def _spans(texts, tokenizer):
    _, starts, ends = tokenizer.with_spans(texts)
    return word_starts(texts, starts, ends), starts, ends


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a bc  d", "a|bc|d"),
        ('"Jim, (and Ann)!"', '"|Jim|,|(|and|Ann|)|!|"'),
        ("J. Smith's U.S.-based co-op", "J.|Smith|'s|U.S.-based|co-op"),
        ("in the U.S., a.m. (R. J.R. x)", "in|the|U.S.|,|a.m.|(|R.|J.R.|x|)"),
        (
            "it's. 's He’s' so' 'so $5.50.",
            "it|'s|.|'s|He|’s|'|so|'|'|so|$|5.50|.",
        ),
        ("don't O'Brien s' ' s", "don't|O'Brien|s|'|'|s"),
        ("his. abc.de ... --", "his|.|abc.de|.|.|.|-|-"),
        ("日本のa,日b 。", "日|本|のa|,|日|b|。"),
        ("a\u00a0b\u3000c\u2028d\te\nf\u200bg", "a|b|c|d|e|f\u200bg"),
        ("Cafe\u0301s, 😀bc 😀. ½", "Cafe\u0301s|,|😀bc|😀|.|½"),
        (b"a\xff \xffb \xff, c\xc3", "a|b|,|c"),
        ("", ""),
        ("\u200b \u0301", ""),
    ],
)
def test_words_by_hand(tokenizer, text, words):
    assert words_of([text], tokenizer) == [words.split("|") if words else []]


def by_hand(text):
    """The rule on characters, with Python's own expressions."""
    found = []
    marks = string.punctuation + "’。"
    for part in re.findall(r"日|[^\s日]+", text):
        core = part.strip(marks)
        before = part[: len(part) - len(part.lstrip(marks))]
        after = part[len(before + core) :] if core else ""
        if after.startswith(".") and re.search(
            r'(^|[.("])[a-z]$', before + core
        ):
            core, after = core + ".", after[1:]
        found += before
        match = re.fullmatch("(.*)(['’]s)", core)
        if match and match[1]:
            found += match.groups()
        elif core == "s" and before[-1:] in ("'", "’") and before:
            found[-1] += core
        elif core:
            found.append(core)
        found += after
    return found


def test_many_texts_together(tokenizer):
    draw = random.Random(4)
    texts = [
        "".join(draw.choices("abss..''’,-(\"日。   ", k=draw.randrange(25)))
        for _ in range(3000)
    ]
    for text, got in zip(texts, words_of(texts, tokenizer), strict=True):
        assert got == by_hand(text), text


def test_a_long_text_is_not_copied_for_each_subword():
    """Of 60,000 bytes there are 20,000 subwords, whose copies take 1.2 GB."""
    count = 20_000
    start = tf.RaggedTensor.from_tensor(3 * tf.range(count)[tf.newaxis])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = word_starts(tf.constant(["ab " * count]), start, start + 2)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert begin.values.numpy().all()
    assert after - before < 400_000  # KiB
