# SPDX-License-Identifier: Apache-2.0
"""Each scheme marks the same entities, and its rules are kept."""

import itertools
import random

import pytest

from kbert.data import tag_schemes


def marked(entities, size, scheme):
    """Tags of (type, first, last) by the definition of a scheme."""
    tags = ["O"] * size
    last_of = {}  # by the place behind it, the type of an entity
    for name, first, last in entities:
        for place in range(first, last + 1):
            tags[place] = f"I-{name}"
        last_of[last + 1] = name
        if scheme == "BIOES":
            tags[last] = f"E-{name}"
            tags[first] = f"{'S' if first == last else 'B'}-{name}"
        elif scheme == "IOB2" or last_of.get(first) == name:
            tags[first] = f"B-{name}"
    return tags


def test_all_schemes_become_the_same_iob2():
    draw = random.Random(0)
    for _ in range(500):
        entities, place = [], 0
        while place < 12:
            place += draw.choice([0, 0, 1, 2])
            last = place + draw.randrange(3)
            entities.append((draw.choice("xy"), place, last))
            place = last + 1
        want = marked(entities, place, "IOB2")
        for scheme in tag_schemes.SCHEMES:
            tags = marked(entities, place, scheme)
            assert tag_schemes.fault(tags, scheme) is None
            assert tag_schemes.to_iob2(tags, scheme) == want
        legal = [
            scheme
            for tagged, scheme in itertools.product(
                [marked(entities, place, s) for s in tag_schemes.SCHEMES],
                tag_schemes.SCHEMES,
            )
            if tag_schemes.fault(tagged, scheme) is None
        ]
        assert len(legal) == 3  # each one in its own scheme alone


@pytest.mark.parametrize(
    ("scheme", "tags", "place"),
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
    ],
)
def test_the_first_fault(scheme, tags, place):
    assert tag_schemes.fault(tags.split(), scheme) == place


@pytest.mark.parametrize("tag", ["", "X-a", "B-", "B", "O-a", "PER", "i-a"])
def test_what_is_no_tag(tag):
    with pytest.raises(ValueError, match=f"tag '{tag}'; wanted O, or B-"):
        tag_schemes.split(tag)
