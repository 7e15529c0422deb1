# SPDX-License-Identifier: Apache-2.0
"""Reports by class and by length, and the worst rows, made by hand."""

import dataclasses
import json
import math
import types

import numpy as np
import pytest

import kbert
from kbert.checkpoints.folder import LoadedModel
from kbert.data.tables import Rows
from kbert.runs import reports
from kbert.tasks import TaskSpec

SPEC = TaskSpec(
    task="classification", max_seq_length=8, labels=("bad", "good"), num_texts=2
)
ROWS = Rows(
    path="dev.tsv",
    lines=[2, 3, 5],
    texts=(
        ["the film", "bad", "was goodly \ud800"],
        ["", "very long film", "x|y\nz"],
    ),
    labels=["good", "bad", "good"],
)


def _answer(good):
    numbers = {"bad": 1 - good, "good": good}
    return {"label": max(numbers, key=numbers.get), "probabilities": numbers}


ANSWERS = [_answer(0.75), _answer(0.875), _answer(0.4375)]


def test_a_report_of_three_rows(tmp_path, task_of, capsys):
    task = task_of(SPEC)
    scores = task.scores(ANSWERS, ROWS)
    report = reports.make(task, ROWS, ANSWERS, scores)
    reports.write(tmp_path / "report", report, worst=2)
    assert "errors.jsonl with 2 wrong answers\n" in capsys.readouterr().out
    written = json.loads((tmp_path / "report/report.json").read_text("utf-8"))
    names = {"input", "scores", "classes", "lengths", "row_score"}
    assert written.keys() == names
    assert written["classes"]["good"] == {
        **{"precision": 0.5, "recall": 0.5},
        **{"f1": 0.5, "rows": 2},
    }
    assert [(x["rows"], x["score"]) for x in written["lengths"]] == [
        *((1, 0.75), (1, 0.125), (1, 0.4375))
    ]
    assert written["lengths"][0]["from"] == 2
    lines = (tmp_path / "report/errors.jsonl").read_text("utf-8").split("\n")
    first, second = map(json.loads, lines[:2])
    assert lines[2:] == [""]
    assert first == {
        "row": 2,
        "line": 3,
        "score": 0.125,
        "wanted": "bad",
        "answer": ANSWERS[1],
        "texts": ["bad", "very long film"],
    }
    assert (second["row"], second["texts"]) == (3, ["was goodly ?", "x|y\nz"])
    text = (tmp_path / "report/report.md").read_text("utf-8")
    assert text.startswith("# dev.tsv: 3 rows\n")
    assert "\n| good  |    0.5000 | 0.5000 | 0.5000 |    2 |\n" in text
    assert "| rows | probability of the right label |" in text
    reports.write(tmp_path / "report", report, worst=1)
    assert "the worst 1 of 2 wrong answers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "rows", "answers", "right"),
    [
        (
            kbert.Regressor,
            Rows("a.tsv", [2, 3], (["x", "y"],), ["1.5", "2"]),
            [{"value": 1.5}, {"value": 2.25}],
            [True, False],
        ),
        (
            kbert.Classifier,
            Rows("a.tsv", [2, 3, 4], (["x"] * 3,), ["a|b", "", "b"]),
            [
                {"labels": x, "probabilities": {"a": 0.5, "b": 0.75}}
                for x in (["b", "a"], [], ["a", "b"])
            ],
            [True, True, False],
        ),
        (
            kbert.MultipleChoice,
            types.SimpleNamespace(labels=[1, 0]),
            [{"choice": 1, "probabilities": [0.5, 0.5]}] * 2,
            [True, False],
        ),
        (
            kbert.QuestionAnswerer,
            types.SimpleNamespace(answer_texts=[["1843", "in 1843"], ["c d"]]),
            [{"answer": "The 1843."}, {"answer": "d"}],
            [True, False],
        ),
        (
            kbert.Tagger,
            types.SimpleNamespace(tags=[["O", "B-x"], ["B-x", "I-x"]]),
            [{"tags": ["O", "B-x"]}, {"tags": ["B-x", "O"]}],
            [True, False],
        ),
        (
            kbert.Summarizer,
            types.SimpleNamespace(
                sentences=[["a", "b", "b"], ["c", "d"], ["e", "f"]],
                labels=[[1, 1, 0], [1, 0], [1, 1]],
                summaries=["In other words.", "d", "e f"],
            ),
            [
                {"summary": ["a", "b"], "sentences": [0, 2]},
                {"summary": ["d"], "sentences": [1]},
                {"summary": ["e"], "sentences": [0]},
            ],
            [True, False, False],
        ),
    ],
)
def test_only_wrong_predictions_are_errors(task, rows, answers, right):
    settings = {"multi_label": task is kbert.Classifier}
    spec = types.SimpleNamespace(
        settings=types.SimpleNamespace(several_answers=False, **settings),
        labels=["O", "B-x", "I-x"],
    )
    made = task(LoadedModel(None, None, None, spec))
    assert list(made.is_right(answers, rows)) == right


def test_classes_without_rows_or_predictions_are_left_out(task_of):
    """Unless a row may have several labels: then macro F1 is of all."""
    spec = dataclasses.replace(SPEC, labels=("bad", "good", "long"))
    assert list(task_of(spec).class_report(ANSWERS, ROWS)) == ["bad", "good"]
    spec = dataclasses.replace(spec, settings={"multi_label": True})
    assert list(task_of(spec).class_report(ANSWERS, ROWS)) == [*spec.labels]


def test_texts_of_rows_are_counted_together(vocabulary):
    columns = [["the film", "", "the"], [["good", "bad good"], [], ["film"]]]
    counts = reports.token_counts(columns, vocabulary)
    assert counts.tolist() == [5, 0, 2]


def test_rows_of_like_length_stand_together():
    lengths = np.array([3, 3, 3, 3, 3, 3, 9, 5, 20, 40, 41, 41])
    scores = np.arange(12.0)
    assert reports.by_length(lengths, scores) == [
        {"from": 3, "to": 3, "rows": 6, "score": 2.5},
        {"from": 5, "to": 9, "rows": 2, "score": 6.5},
        {"from": 20, "to": 40, "rows": 2, "score": 8.5},
        {"from": 41, "to": 41, "rows": 2, "score": 10.5},
    ]
    many = reports.by_length(np.arange(1, 13), scores)
    assert [(x["from"], x["to"]) for x in many] == [
        *((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12))
    ]


def test_a_score_that_is_no_number_is_the_worst(task_of):
    task = task_of(SPEC)
    task.row_scores = lambda *_: [0.5, math.nan, -1.0]
    report = reports.make(task, ROWS, ANSWERS, {})
    assert [row["row"] for row in report.errors] == [2, 3]


def test_names_and_labels_are_escaped():
    row = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 1}
    report = reports.Report(
        input="<b>dev*.tsv",
        scores={"f1": 0.5},
        classes={"<script>|x": row},
        lengths=[{"from": 1, "to": 2, "rows": 1, "score": 0.5}],
        row_score="f1",
        errors=[],
    )
    text = reports.markdown(report, 0)
    assert text.startswith("# &lt;b&gt;dev\\*.tsv: 1 rows\n")
    assert "\n| &lt;script&gt;\\|x |" in text
    assert "<" not in text
