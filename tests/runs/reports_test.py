# SPDX-License-Identifier: Apache-2.0
"""Reports by class and by length, and the worst rows, made by hand."""

import dataclasses
import json
import math

import numpy as np

from kbert.data.tables import Rows
from kbert.runs import reports
from kbert.runs.jobs.classification import ClassificationJob
from kbert.runs.jobs.job import JobOptions
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


ANSWERS = [_answer(0.75), _answer(0.875), _answer(0.5625)]


def test_a_report_of_three_rows(tmp_path, vocabulary, capsys):
    job = ClassificationJob(JobOptions())
    report = reports.make(
        job,
        ROWS,
        ANSWERS,
        job.scores(ANSWERS, ROWS, SPEC),
        spec=SPEC,
        vocabulary=vocabulary,
    )
    reports.write(tmp_path / "report", report, worst=2)
    assert "errors.jsonl with the 2 worst rows" in capsys.readouterr().out
    told = json.loads((tmp_path / "report/report.json").read_text("utf-8"))
    assert told.keys() == {"input", "scores", "classes", "lengths"}
    assert told["classes"]["good"] == {
        **{"precision": 2 / 3, "recall": 1.0},
        **{"f1": 0.8, "rows": 2},
    }
    assert [(x["rows"], x["score"]) for x in told["lengths"]] == [
        *((1, 0.75), (1, 0.125), (1, 0.5625))
    ]
    assert told["lengths"][0]["from"] == 2
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
    assert "\n| good  |    0.6667 | 1.0000 | 0.8000 |    2 |\n" in text


def test_classes_without_rows_or_answers_are_left_out():
    """Unless a row may have several labels: then macro F1 is of all."""
    job = ClassificationJob(JobOptions())
    spec = dataclasses.replace(SPEC, labels=("bad", "good", "long"))
    assert list(job.class_report(ANSWERS, ROWS, spec)) == ["bad", "good"]
    spec = dataclasses.replace(spec, settings={"multi_label": True})
    assert list(job.class_report(ANSWERS, ROWS, spec)) == [*spec.labels]


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


def test_a_score_that_is_no_number_is_the_worst(vocabulary):
    job = ClassificationJob(JobOptions())
    job.row_scores = lambda *_: [0.5, math.nan, -1.0]
    report = reports.make(
        job, ROWS, ANSWERS, {}, spec=SPEC, vocabulary=vocabulary
    )
    assert [row["row"] for row in report.errors] == [2, 3, 1]
