# SPDX-License-Identifier: Apache-2.0
"""What is said of labels and rows before a model is trained on them."""

import json

import pytest

import kbert
from kbert.data.tables import Rows
from kbert.runs import data_summary
from kbert.tasks.multiple_choice.data import Choices
from kbert.tasks.rows import DataOptions


def _show(train, dev, task=kbert.Classifier, **options):
    data_summary.show(task, DataOptions(**options), train, dev)


def _rows(name, labels, texts=None):
    texts = texts or [f"{name} {i}" for i in range(len(labels))]
    return Rows(name, list(range(2, len(labels) + 2)), (texts,), labels)


def test_labels_have_their_counts_in_both_files(capsys):
    train = _rows("train.tsv", ["b", "a", "b", "b"])
    _show(train, _rows("dev.tsv", ["c", "b"]))
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "| label | train | dev |",
        "| ----- | ----: | --: |",
        "| a     |     1 |   0 |",
        "| b     |     3 |   1 |",
        "| c     |     0 |   1 |",
    ]
    assert err == ""
    _show(train, None, labels=["b", "c", "a"])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows == [
        "| b     |     3 |",
        "| c     |     0 |",
        "| a     |     1 |",
    ]


def test_of_many_labels_the_most_frequent_are_shown(capsys):
    labels = [f"l{i}" for i in range(100) for _ in range(i + 1)]
    _show(_rows("t", labels), _rows("d", ["l0", "l99"]))
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 21
    assert rows[0].split("|")[1:4] == [" l99       ", "   100 ", "   1 "]
    assert rows[-1].split("|")[1:4] == [" 80 others ", " 3,240 ", "   1 "]


def test_rows_with_several_labels_and_with_none(capsys):
    rows = _rows("t", ["good | long", "good|long|", "", "|"])
    _show(rows, None, settings={"multi_label": True})
    rows = capsys.readouterr().out.splitlines()[2:]
    cells = [[x.strip() for x in row.split("|")[1:3]] for row in rows]
    assert cells == [["(none)", "2"], ["good", "2"], ["long", "2"]]


@pytest.mark.parametrize(
    ("other", "is_alike"),
    [
        *(("pos ", True), (" pos", True), ("Pos", True), ("POS\t", True)),
        *(("pos\u00a0", True), ("ｐos", True), ("po s", False), ("neg", False)),
    ],
)
def test_labels_that_look_alike_are_named(other, is_alike, capsys):
    _show(_rows("t.tsv", ["pos", other, "x"]), None)
    err = capsys.readouterr().err
    assert bool(err) == is_alike
    if is_alike:
        assert "t.tsv: labels " in err and "'pos'" in err and repr(other) in err
        assert "'x'" not in err


def test_tasks_whose_labels_are_no_classes(capsys):
    _show(_rows("t", ["10", "2", "2.0"]), None, kbert.Regressor)
    assert capsys.readouterr().out.splitlines()[2:] == [
        *("| 2     |     2 |", "| 10    |     1 |")
    ]
    choices = Choices("t", [1, 2], ["a", "b"], [["c", "d"]] * 2, [1, 1])
    _show(choices, choices, kbert.MultipleChoice)
    out = capsys.readouterr().out.splitlines()
    assert out[2:] == [
        "| 1     |     2 |   2 |",
        "t: 2 of 2 rows have texts that are in t too",
    ]


def test_rows_that_are_in_both_files_are_counted(capsys):
    train = _rows("train.tsv", ["a", "b"], ["x", "y"])
    dev = _rows("dev.tsv", ["b", "b", "a"], ["x", "x ", "y"])
    _show(train, dev)
    said = "dev.tsv: 2 of 3 rows have texts that are in train.tsv too\n"
    assert capsys.readouterr().out.endswith(said)
    pair = Rows("p", [2], (["x"], ["y"]), ["a"])
    other = Rows("q", [2], (["y"], ["x"]), ["a"])
    assert data_summary.count_shared(pair, other) == 0
    assert data_summary.count_shared(pair, pair) == 1


def test_tags_are_counted_by_entity(tmp_path, capsys):
    path = tmp_path / "t.conll"
    path.write_text(
        "New B-place\nYork I-place\nis O\nBig B-x\n\nYork B-place\n"
    )
    data = DataOptions(labels=["y", "x", "place"])
    rows = kbert.Tagger.read(str(path), data)
    _show(rows, None, kbert.Tagger, labels=data.labels)
    out = capsys.readouterr().out.splitlines()[2:]
    cells = [[x.strip() for x in row.split("|")[1:3]] for row in out]
    assert cells == [["y", "0"], ["x", "1"], ["place", "2"]]
    names = [f"{letter}-{x}" for x in ("y", "x", "place") for letter in "BI"]
    assert kbert.Tagger.new_spec(rows, data).labels == ("O", *names)
    with pytest.raises(ValueError, match=r"t.conll:4: tag 'B-x' is not one"):
        kbert.Tagger.new_spec(rows, DataOptions(labels=["place"]))


def test_questions_without_an_answer_are_counted(tmp_path, capsys):
    def question(name, answers):
        return {"id": name, "question": "?", "answers": answers}

    answer = {"text": "x", "answer_start": 0}
    qas = [question("a", [answer]), question("b", []), question("c", [answer])]
    path = tmp_path / "t.json"
    paragraphs = [{"context": "x", "qas": qas}]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    rows = kbert.QuestionAnswerer.read(str(path), DataOptions())
    _show(rows, None, kbert.QuestionAnswerer)
    assert capsys.readouterr().out.splitlines()[2:] == [
        *("| answer    |     2 |", "| no answer |     1 |")
    ]
