# SPDX-License-Identifier: Apache-2.0
"""SQuAD's JSON: what is read, what is wrong and where."""

import json

import pytest

from kbert.data.squad import Answer, read_squad


def question(name="q", text="good", start=9, **more):
    answers = [{"text": text, "answer_start": start}] if text else []
    return {"id": name, "question": "Was it?", "answers": answers, **more}


def tree(*qas, context="Été was \U0001f600 good."):
    return {"data": [{"paragraphs": [{"context": context, "qas": [*qas]}]}]}


@pytest.fixture
def read(tmp_path):
    """Writes what is given, bytes or JSON, and reads it."""

    def read(what, encoding="utf-8", **options):
        path = tmp_path / "squad.json"
        if not isinstance(what, bytes):
            what = json.dumps(what, ensure_ascii=False).encode(encoding)
        path.write_bytes(what)
        return read_squad(str(path), encoding, **options)

    return read


def test_questions_with_their_contexts_and_answers(read):
    twice = question("b", "Été", 0)
    twice["answers"].append({"text": "\U0001f600 good", "answer_start": 8})
    first = tree(question("a", start=10, is_impossible=False), twice)
    second = tree(question("c", "", is_impossible=True), context="")
    rows = read({"data": first["data"] + second["data"], "version": "2.0"})
    assert rows.ids == ["a", "b", "c"] and len(rows) == 3
    assert rows.texts == (
        ["Was it?"] * 3,
        ["Été was \U0001f600 good."] * 2 + [""],
    )
    assert rows.answers == [
        [Answer("good", 10)],
        [Answer("Été", 0), Answer("\U0001f600 good", 8)],
        [],
    ]
    assert rows.answer_texts == [["good"], ["Été", "\U0001f600 good"], []]
    assert (rows.wrong, rows.dropped) == (0, 0)


def test_a_bom_and_another_encoding(read):
    text = json.dumps(
        tree(question("a", start=5), context="Été: good"), ensure_ascii=False
    )
    with_bom = read(b"\xef\xbb\xbf" + text.encode())
    assert with_bom.answers == [[Answer("good", 5)]]
    assert with_bom.contexts == ["Été: good"]
    assert read(text.encode("latin-1"), "latin-1").contexts == ["Été: good"]
    with pytest.raises(ValueError, match=r"squad.json:1: not UTF-8: byte 0xc9"):
        read(text.encode("latin-1"))


def test_answers_elsewhere_are_counted_and_left_out(read):
    many = [question(str(i), start=10) for i in range(250)]
    many[7] = question("7", start=9)  # its only answer
    many[9]["answers"].append({"text": "god", "answer_start": 10})
    rows = read(tree(*many))
    assert (rows.wrong, rows.dropped, len(rows)) == (2, 1, 249)
    assert "7" not in rows.ids and rows.answers[8] == [Answer("good", 10)]
    many[3] = question("3", "", start=10)  # none is right as well
    assert len(read(tree(*many))) == 249
    many[5] = question("5", start=900)
    with pytest.raises(
        ValueError,
        match="n:1: question '5': the text .* with 3 of 250 answers, more than",
    ):
        read(tree(*many))


def test_a_question_is_named_with_its_line(read):
    """What looks like an id may be text; an "id" may be spelled otherwise."""
    rows = tree(
        question("a", start=10, question='\n"id": "b"'),
        question('b\u00e9"', "", is_impossible=False),
    )
    text = json.dumps(rows, indent=1)
    line = 1 + text[: text.index("b\\u00e9")].count("\n")
    assert line > 10
    with pytest.raises(ValueError, match=f"json:{line}: question 'bé\"': 'is"):
        read(text.encode())
    other = text.replace('"id": "b', '"i\\u0064": "b')
    with pytest.raises(ValueError, match="json: question 'bé\"': 'is_imposs"):
        read(other.encode())


def test_of_two_with_one_id_the_second_is_named(read):
    asked = [question(name, start=10) for name in "aba"]
    text = json.dumps(tree(*asked), indent=1)
    line = 1 + text[: text.rindex('"id": "a"')].count("\n")
    with pytest.raises(ValueError, match=f"json:{line}: question 'a': another"):
        read(text.encode())


def test_without_answers_all_questions_are_there(read):
    asked = tree(
        question("a", start=900),
        {"id": "b", "question": "Was it?"},
        question("c", answers="?", is_impossible=2),
    )
    rows = read(asked, labelled=False)
    assert rows.ids == ["a", "b", "c"] and rows.answers == [[], [], []]
    assert (rows.wrong, rows.dropped) == (0, 0)
    assert rows.contexts == ["Été was \U0001f600 good."] * 3


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (b"", r":1: not JSON"),
        (b'{"data":\n[}', r":2: not JSON: Expecting value"),
        (b"[" * 100_000, r"too deep"),
        (b'{"data": 1%s}' % (b"0" * 5000), r"squad.json: not JSON of SQuAD: "),
        ([], r"squad.json: \[\]; wanted an object with 'data'"),
        ({"version": "1.1"}, r"squad.json: no 'data'; there are \['version'\]"),
        ({"data": []}, r"squad.json: no questions"),
        (tree(), r"squad.json: no questions"),
        ({"data": [{"title": ""}]}, r": data\[0\]: no 'paragraphs'"),
        (
            {"data": [{"paragraphs": [{"qas": []}]}]},
            r": data\[0\].paragraphs\[0\]: no 'context'",
        ),
        (tree({"question": "?"}), r"paragraphs\[0\].qas\[0\]: no 'id'"),
        (tree(7), r"qas\[0\]: 7; wanted an object with 'id'"),
        (tree({"id": "x", "question": ""}), r"question 'x': no 'answers'"),
        (
            tree(question(text="good", start="9")),
            r"question 'q': 'answer_start' is \"9\"; wanted a whole number",
        ),
        (tree(question(start=-1)), r"'answer_start' is -1; wanted 0 or more"),
        (tree(question(question=None)), r"'question' is null; wanted a str"),
        (
            tree(question(is_impossible=True)),
            r"question 'q': 'is_impossible' is true, but there are 1 answers",
        ),
        (
            tree(question(text="", is_impossible=False)),
            r"'is_impossible' is false, but there are 0 answers",
        ),
        (
            b'{"data": [{"paragraphs": [{"context": "\\ud800", "qas": []}]}]}',
            r"'context': .*: half of a surrogate pair",
        ),
    ],
)
def test_what_is_wrong_and_where(read, what, message):
    with pytest.raises(ValueError, match=message) as error:
        read(what)
    assert "\n" not in str(error.value)
