# SPDX-License-Identifier: Apache-2.0
"""Column files: what is read, in which scheme, and what is refused."""

import pytest

from kbert.data import conll


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        path = tmp_path / "a.conll"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return conll.read(str(path), **options)

    return read


def test_words_and_tags(read):
    sentences = read(
        "-DOCSTART- -X- O\n"
        "\n"
        "The DT O\n"
        "New  NNP  B-LOC\n"
        "York NNP I-LOC\r\n"
        " \t \n"
        "\n"
        "New York\tNN\tB-LOC\n"
        "-DOCSTART-\n"
        "\u00a0\tO\n"
        "#\tO"
    )
    assert sentences.words == [
        ["The", "New", "York"],
        ["New York"],
        ["\u00a0", "#"],
    ]
    assert sentences.tags == [["O", "B-LOC", "I-LOC"], ["B-LOC"], ["O", "O"]]
    assert sentences.lines == [3, 8, 10]
    assert sentences.texts == (sentences.words,)
    assert len(sentences) == 3 and sentences.scheme == "IOB2"


def test_without_tags_the_words_are_there(read):
    sentences = read("New\nYork NNP I-LOC\n\nYork\tB\tQ-9\n", labelled=False)
    assert sentences.words == [["New", "York"], ["York"]]
    assert sentences.tags == [["O", "O"], ["O"]]


@pytest.mark.parametrize(
    ("tags", "scheme", "iob2"),
    [
        ("O I-x I-x I-y", "IOB1", "O B-x I-x B-y"),
        ("I-x B-x I-x", "IOB1", "B-x B-x I-x"),
        ("B-x B-x O", "IOB2", "B-x B-x O"),
        ("S-x O", "BIOES", "B-x O"),
        ("B-x I-x E-x S-x", "BIOES", "B-x I-x I-x B-x"),
        ("O O", "IOB2", "O O"),
    ],
)
def test_tags_tell_their_scheme(read, tags, scheme, iob2):
    found = read("".join(f"a {tag}\n" for tag in tags.split()))
    assert (found.scheme, found.tags) == (scheme, [iob2.split()])


def test_encodings(read):
    assert read("\ufeffé O\n").words == [["é"]]
    assert read("é O\n".encode("latin-1"), encoding="latin-1").words == [["é"]]
    with pytest.raises(ValueError, match=r"a\.conll:2: not UTF-8"):
        read("a O\né O\n".encode("latin-1"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb\n", r":2: one field, 'b'; wanted a word and its tag"),
        ("a O\n\tO\n", r":2: one field"),
        ("a O\n\nb LOC\n", r":3: tag 'LOC'; wanted O, or B-"),
        ("", r": no sentences"),
        ("\n-DOCSTART- O\n\n", r": no sentences"),
        (
            "a B-x\nb O\n\nc O\nd I-x\n",
            r":5: tag 'I-x' after 'O', which is not IOB2 \(nor IOB1 in line "
            r"1: tag 'B-x' after the sentence's start\)",
        ),
        (
            "a O\n\nb B-x\nc E-x\nd B-x\n\n",
            r":5: 'B-x' before the sentence's end, which is not BIOES\.",
        ),
        # IOB2, but for one: what keeps BIOES's rules least is not blamed.
        (
            "a B-x\nb I-x\nc O\n\nd B-x\ne S-x\nf O\n",
            r":6: tag 'S-x' after 'B-x', which is not IOB2\.",
        ),
        ("a S-x\nb E-x\n", r":2: tag 'E-x' after 'S-x', which is not BIOES"),
    ],
)
def test_what_is_refused(read, text, message):
    with pytest.raises(ValueError, match=r"a\.conll" + message):
        read(text)


def test_tags_that_a_model_does_not_know(read):
    sentences = read("a O\nb B-x\n\nc O\nd B-y\n")
    labels = ["O", "B-x", "I-x", "B-y"]
    assert conll.tag_ids(sentences, labels) == [[0, 1], [0, 3]]
    with pytest.raises(ValueError, match=r"a\.conll:5: tag 'B-y' is not one"):
        conll.tag_ids(sentences, labels[:3])
