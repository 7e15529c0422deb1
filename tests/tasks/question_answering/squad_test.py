# SPDX-License-Identifier: Apache-2.0
"""SQuAD's JSON: what is read, what is wrong and where."""

import json
import math

import pytest

from kbert.tasks.question_answering.squad import Answer, read_squad, whole_words


def question(name="q", text="good", start=9, **more):
    answers = [{"text": text, "answer_start": start}] if text else []
    return {"id": name, "question": "Was it?", "answers": answers, **more}


def tree(*qas, context="Été was \U0001f600 good."):
    return {"data": [{"paragraphs": [{"context": context, "qas": [*qas]}]}]}


def none(name, start, **more):
    """An answer with empty text, as some tools write "no answer"."""
    answers = [{"text": "", "answer_start": start}]
    return {"id": name, "question": "Was it?", "answers": answers, **more}


ROW = {
    "id": 7,
    "question": "Was it?",
    "context": "It was good.",
    "answers": {"text": ["good", "It"], "answer_start": [7, 0]},
}


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


def test_answers_with_empty_text_are_no_answer(read):
    rows = read(
        tree(
            none("a", 0, is_impossible=True),
            none("b", -1, is_impossible=True),
            none("c", -1),
            none("d", 0),
            none("e", 900, is_impossible=True),
            {"id": "f", "question": "Was it?", "is_impossible": True},
            question("g", start=10, is_impossible=False),
        )
    )
    assert rows.ids == [*"abcdefg"]
    assert rows.answers == [*[[]] * 6, [Answer("good", 10)]]
    assert (rows.wrong, rows.dropped) == (0, 0)


def test_ids_that_are_numbers(read):
    text = json.dumps(tree(question(3, start=10), question(-4.5, "")), indent=1)
    rows = read(text.encode())
    assert rows.ids == [3, -4.5]
    line = 1 + text[: text.index('"id": 3')].count("\n")
    with pytest.raises(ValueError, match=f"json:{line}: question 3: 'is_impo"):
        read(text.replace('"id": 3', '"is_impossible": true, "id": 3').encode())


@pytest.mark.parametrize("form", ["list", "data", "lines", "one line"])
def test_rows_as_the_datasets_library_has_them(read, form):
    nothing = {"text": [], "answer_start": []}
    given = [
        ROW,
        {**ROW, "id": "b", "answers": nothing},
        {**ROW, "id": "c", "answers": [{"text": "was", "answer_start": 3}]},
    ]
    if form == "one line":
        given = given[:1]
    what = {"list": given, "data": {"data": given}}.get(form)
    if what is None:
        what = "\n\n".join(map(json.dumps, given)).encode() + b"\r\n"
    rows = read(what)
    want = [[Answer("good", 7), Answer("It", 0)], [], [Answer("was", 3)]]
    assert rows.ids == [7, "b", "c"][: len(given)]
    assert rows.answers == want[: len(given)]
    assert rows.texts == (
        ["Was it?"] * len(given),
        ["It was good."] * len(given),
    )
    assert read(what, labelled=False).ids == rows.ids


def test_lists_of_articles_and_of_paragraphs(read):
    articles = tree(question("a", start=10))["data"]
    paragraphs = articles[0]["paragraphs"]
    for what in (articles, paragraphs, articles[0], paragraphs[0]):
        assert read(what).answers == [[Answer("good", 10)]]


@pytest.mark.parametrize(
    ("context", "text", "want"),
    [
        ("In the 1990s.", "199", "1990s"),
        ("In the 1990s.", "he 1", "the 1990s"),
        ("Beyoncé's $5.2", "yonc", "Beyoncé"),
        ("Beyoncé's $5.2", "Beyoncé", "Beyoncé"),
        ("Beyoncé's $5.2", "$5", "$5"),
        ("cafe\u0301s", "caf", "cafe\u0301s"),
        ("日本語です", "本", "本"),
        ("그는 서울은", "서울", "서울은"),
        ("สวัสดีครับ", "สวัส", "สวัส"),
        ("ab", "ab", "ab"),
        ("ab", "", ""),
    ],
)
def test_answers_are_widened_to_whole_words(context, text, want):
    found = whole_words(context, Answer(text, context.index(text)))
    assert found == Answer(want, context.index(want))


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
        match="n:1: question '5': the text .* for 3 of 250 answers, more than",
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
        ([], r"squad.json: no questions"),
        ([7], r"squad.json: \[0\]: 7; expected an object with 'paragraphs'"),
        ("x", r"squad.json: \"x\"; expected an object with 'data'"),
        (
            b"question,context\nWhy?,So\n",
            r"squad.json:1: not JSON: .*; expected SQuAD's JSON, or a list or",
        ),
        (
            b'{"id": 1, "question": "?", "context": "a", "answers": []}\n\n{"a',
            r"squad.json:3: not JSON: Unterminated string",
        ),
        ([{"id": 1, "context": ""}], r"question 1: no 'question'"),
        ([{**ROW, "id": None}], r"squad.json: \[0\]: 'id' is null; expected a"),
        ([{**ROW, "id": True}], r"squad.json: \[0\]: 'id' is true; expected a"),
        ([{**ROW, "id": math.nan}], r"\[0\]: 'id' is NaN; expected a string"),
        ([ROW, {**ROW, "id": "7"}], r"question '7': another has this id"),
        (
            [{**ROW, "answers": {"text": ["good"], "answer_start": []}}],
            r"question 7: 'answers' have 1 texts and 0 of 'answer_start'",
        ),
        (
            [{**ROW, "answers": {"text": [""], "answer_start": [-2]}}],
            r"question 7: 'answer_start' is -2; expected 0 or more",
        ),
        (
            tree(none("q", -1, is_impossible=False)),
            r"question 'q': 'answer_start' is -1; expected 0 or more",
        ),
        ({"version": "1.1"}, r"squad.json: no 'data'; there are \['version'\]"),
        ({"data": []}, r"squad.json: no questions"),
        (tree(), r"squad.json: no questions"),
        ({"data": [{"title": ""}]}, r": data\[0\]: no 'paragraphs'"),
        (
            {"data": [{"paragraphs": [{"qas": []}]}]},
            r": data\[0\].paragraphs\[0\]: no 'context'",
        ),
        (tree({"question": "?"}), r"paragraphs\[0\].qas\[0\]: no 'id'"),
        (tree(7), r"qas\[0\]: 7; expected an object with 'id'"),
        (tree({"id": "x", "question": ""}), r"question 'x': no 'answers'"),
        (
            tree(question(text="good", start="9")),
            r"question 'q': 'answer_start' is \"9\"; expected a whole number",
        ),
        (tree(question(start=-1)), r"'answer_start' is -1; expected 0 or more"),
        (tree(question(question=None)), r"'question' is null; expected a str"),
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
