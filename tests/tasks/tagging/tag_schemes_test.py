# SPDX-License-Identifier: Apache-2.0
"""Each scheme marks the same entities, and its rules are kept."""

import itertools
import random

import pytest

from kbert.tasks.tagging import tag_schemes


def marked(entities, size, scheme):
    """Tags of (type, first, last) by the definition of a scheme."""
    tags = ["O"] * size
    last_of = {}  # by the position after it, the type of an entity
    for name, first, last in entities:
        for position in range(first, last + 1):
            tags[position] = f"I-{name}"
        last_of[last + 1] = name
        if scheme == "BMES":
            tags[first : last + 1] = [f"M-{name}"] * (last + 1 - first)
        if scheme in ("BIOES", "BILOU", "BMES"):
            end, single = "LU" if scheme == "BILOU" else "ES"
            tags[last] = f"{end}-{name}"
            tags[first] = f"{single if first == last else 'B'}-{name}"
        elif scheme == "IOB2" or last_of.get(first) == name:
            tags[first] = f"B-{name}"
    return tags


def test_all_schemes_become_the_same_iob2():
    draw = random.Random(0)
    for _ in range(500):
        entities, position = [], 0
        while position < 12:
            position += draw.choice([0, 0, 1, 2])
            last = position + draw.randrange(3)
            entities.append((draw.choice("xy"), position, last))
            position = last + 1
        want = marked(entities, position, "IOB2")
        for scheme in tag_schemes.SCHEMES:
            tags = marked(entities, position, scheme)
            assert tag_schemes.fault(tags, scheme) is None
            assert tag_schemes.to_iob2(tags) == want
        legal = {
            (tagged, scheme)
            for tagged, scheme in itertools.product(
                tag_schemes.SCHEMES, tag_schemes.SCHEMES
            )
            if tag_schemes.fault(marked(entities, position, tagged), scheme)
            is None
        }
        # Each one in its own scheme alone; entities of two words are the
        # same in BIOES and BMES.
        same = {("BIOES", "BMES"), ("BMES", "BIOES")}
        long = any(last - first > 1 for _, first, last in entities)
        own = {(scheme, scheme) for scheme in tag_schemes.SCHEMES}
        assert legal == (own if long else own | same)


@pytest.mark.parametrize(
    ("letters", "want"),
    [
        ("I", "O I-x I-x I-x I-x I-y"),
        ("BI", "O B-x I-x I-x B-x B-y"),
        ("BIES", "O B-x I-x E-x S-x S-y"),
        ("BILU", "O B-x I-x L-x U-x U-y"),
        ("BMES", "O B-x M-x E-x S-x S-y"),
    ],
)
def test_entities_in_the_scheme_of_labels(letters, want):
    tags = "O B-x I-x I-x B-x B-y".split()
    labels = ["O", *(f"{x}-{name}" for name in "xy" for x in letters)]
    assert tag_schemes.in_scheme_of(labels, tags) == want.split()
    assert tag_schemes.in_scheme_of(labels[:-1], ["B-z"]) == ["B-z"]


@pytest.mark.parametrize(
    ("scheme", "tags", "position"),
    [
        ("IOB2", "O B-x O I-x", 3),
        ("IOB2", "B-x I-y", 1),
        ("IOB2", "I-x", 0),
        ("IOB2", "B-x E-x", 1),
        ("IOB1", "I-x O B-x", 2),
        ("IOB1", "I-x B-y", 1),
        ("IOB1", "B-x", 0),
        ("BIOES", "B-x O", 1),
        ("BIOES", "O B-x", 2),
        ("BIOES", "B-x I-x", 2),
        ("BIOES", "B-x E-y", 1),
        ("BIOES", "S-x I-x", 1),
        ("BIOES", "E-x", 0),
        ("BIOES", "B-x B-x", 1),
        ("BIOES", "B-x L-x", 1),
        ("BILOU", "B-x L-x U-x B-x I-x O", 5),
        ("BILOU", "S-x", 0),
        ("BILOU", "B-x E-x", 1),
        ("BMES", "B-x M-x E-x B-x I-x", 4),
        ("BMES", "M-x", 0),
        ("BIOES", "B-x M-x", 1),
    ],
)
def test_the_first_fault(scheme, tags, position):
    assert tag_schemes.fault(tags.split(), scheme) == position


@pytest.mark.parametrize("tag", ["", "X-a", "B-", "B", "O-a", "PER", "i-a"])
def test_what_is_no_tag(tag):
    with pytest.raises(ValueError, match=f"tag '{tag}'; expected O, or B-"):
        tag_schemes.split(tag)


def _conlleval(tags):
    """Chunks by conlleval's startOfChunk and endOfChunk, and seqeval's S."""
    chunks, before, type_before, start = [], "O", "", None
    for position, tag in enumerate([*tags, "O"]):
        letter, _, kind = tag.partition("-")
        letter = {"L": "E", "U": "S", "M": "I"}.get(letter, letter)
        pair = before + letter
        ends = pair in ("BB", "BS", "BO", "IB", "IS", "IO") or before in "ES"
        ends |= before != "O" and type_before != kind
        starts = letter in "BS" or pair in ("EE", "EI", "SE", "SI", "OE", "OI")
        starts |= letter != "O" and type_before != kind
        if start is not None and ends:
            chunks.append((type_before, start, position - 1))
            start = None
        if starts:
            start = position
        before, type_before = letter, kind
    return chunks


def test_stray_tags_are_read_as_conlleval_reads_them():
    draw = random.Random(2)
    letters = ["O", *(f"{x}-{y}" for x in "BIESLUM" for y in "xy")]
    for size in range(400):
        tags = draw.choices(letters, [4] + [1] * 14, k=size % 9)
        want = marked(_conlleval(tags), len(tags), "IOB2")
        assert tag_schemes.to_iob2(tags) == want
    assert tag_schemes.to_iob2("O I-x I-y E-y I-y".split()) == (
        "O B-x B-y I-y B-y".split()
    )
