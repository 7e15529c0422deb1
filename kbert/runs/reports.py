# SPDX-License-Identifier: Apache-2.0
"""Reports on predictions for labelled rows: tables and the worst errors.

A folder has report.md for readers, report.json for programs, and errors.jsonl
with the worst of the wrong ones.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kbert import atomic_files
from kbert.data import batching
from kbert.markdown import escape, fill, table
from kbert.runs import run_files
from kbert.tasks.labelled import LabelledTask, Predictions
from kbert.tasks.predictor import encode
from kbert.tasks.rows import Rows
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import Vocabulary

REPORT_FILE, TABLES_FILE, ERRORS_FILE = (
    *("report.json", "report.md"),
    "errors.jsonl",
)
_BUCKETS = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """How good some predictions are.

    Attributes:
        input: the file of the rows.
        scores: of the task, by name.
        classes: precision, recall, F1 and rows by class; empty for a task
            without classes.
        lengths: rows by their number of tokens, [CLS] and [SEP] not counted:
            "from" and "to", how many "rows", and their mean "score", which
            is each prediction's by itself, the higher the better.
        row_score: what the score of a row is, such as "f1".
        errors: all rows with a wrong prediction, the worst first: "row", and
            "line" if it is known, in the file, both from 1, "score",
            "wanted", "answer" and "texts".
    """

    input: str
    scores: Mapping[str, float]
    classes: Mapping[str, Mapping[str, float]]
    lengths: Sequence[Mapping[str, float]]
    row_score: str
    errors: Sequence[Mapping[str, Any]]


def make(
    task: LabelledTask,
    rows: Rows,
    predictions: Predictions,
    scores: Mapping[str, float],
) -> Report:
    """The report of a model's predictions.

    Args:
        task: the model.
        rows: with labels.
        predictions: of the model, one a row.
        scores: of the predictions.
    """
    by_row = task.row_scores(predictions, rows)
    right = task.is_right(predictions, rows)
    wrong = [index for index, is_right in enumerate(right) if not is_right]
    return Report(
        input=rows.path,
        scores=scores,
        classes=task.class_report(predictions, rows),
        lengths=by_length(
            token_counts(rows.texts, task.vocabulary), np.array(by_row, float)
        ),
        row_score=task.row_score,
        errors=list(_worst_first(wrong, task, rows, predictions, by_row)),
    )


def token_counts(
    columns: Sequence[Sequence[Any]], vocabulary: Vocabulary
) -> np.ndarray:
    """The tokens in all texts of each row, (rows,) int."""
    owners, texts = [], []
    for column in columns:
        for row, text in enumerate(column):
            several = [text] if isinstance(text, str | bytes) else text
            owners += [row] * len(several)
            texts += map(encode, several)
    counts = np.zeros(len(columns[0]), int)
    if texts:
        tokenizer = Tokenizer(vocabulary)
        found = batching.map_in_chunks(
            {"texts": tf.constant(texts)},
            lambda part: {"counts": tokenizer(part["texts"]).row_lengths()},
        )
        np.add.at(counts, owners, np.asarray(found["counts"]))
    return counts


def by_length(
    lengths: np.ndarray, scores: np.ndarray
) -> list[dict[str, float]]:
    """Up to six groups of about as many rows, short ones first.

    Rows of one length are never parted.
    """
    shares = np.arange(1, _BUCKETS + 1) / _BUCKETS
    tops = np.unique(np.quantile(lengths, shares, method="inverted_cdf"))
    group_of = np.searchsorted(tops, lengths)
    groups = [group_of == index for index in range(len(tops))]
    return [
        {
            "from": int(lengths[group].min()),
            "to": int(lengths[group].max()),
            "rows": int(group.sum()),
            "score": float(scores[group].mean()),
        }
        for group in groups
    ]


def _worst_first(
    indices, task, rows, predictions, scores
) -> Iterator[dict[str, Any]]:
    def badness(index):
        score = scores[index]
        return -math.inf if math.isnan(score) else score

    labels = task.labels(rows)
    lines = getattr(rows, "lines", None)  # not every file has one a row
    for index in sorted(indices, key=badness):
        yield {
            "row": index + 1,
            **({"line": lines[index]} if lines else {}),
            "score": scores[index],
            "wanted": labels[index],
            "answer": predictions[index],
            "texts": [column[index] for column in rows.texts],
        }


def write(folder: str | os.PathLike, report: Report, worst: int) -> None:
    """Writes the three files and prints where.

    Args:
        folder: of the files; it is made when missing.
        report: what they say.
        worst: how many rows errors.jsonl has at most.

    Raises: OSError.
    """
    path = pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    errors = report.errors[:worst]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in errors]
    # A lone surrogate, which JSON can have, is no text that a file can.
    text = "".join(lines).encode("utf-8", "replace").decode()
    atomic_files.write_text(path / ERRORS_FILE, text)
    content = {
        field.name: getattr(report, field.name)
        for field in dataclasses.fields(report)
        if field.name != "errors"
    }
    run_files.write_json(path / REPORT_FILE, content)
    atomic_files.write_text(path / TABLES_FILE, markdown(report, len(errors)))
    print(
        f"{path}: {TABLES_FILE}, and {ERRORS_FILE} with "
        f"{_counted(report, len(errors))}",
        flush=True,
    )


def _num_rows(report):
    return sum(int(group["rows"]) for group in report.lengths)


def _counted(report, worst):
    """Such as "the worst 50 of 1,204 wrong answers"."""
    total = len(report.errors)
    some = f"the worst {worst:,} of " if worst < total else ""
    return f"{some}{total:,} wrong answer{'s' if total != 1 else ''}"


def markdown(report: Report, worst: int) -> str:
    """Formats the report for a reader."""
    classes = ""
    if report.classes:
        names = list(next(iter(report.classes.values())))
        rows = [(label, *of.values()) for label, of in report.classes.items()]
        classes = f"## By class\n\n{table(('class', *names), rows)}"
    lengths = [
        (f"{x['from']}-{x['to']}", x["rows"], x["score"])
        for x in report.lengths
    ]
    return fill(
        "kbert.runs",
        "report.md",
        input=escape(report.input),
        rows=f"{_num_rows(report):,}",
        scores=table(("", "score"), report.scores.items()),
        classes=classes,
        lengths=table(("tokens", "rows", report.row_score), lengths),
        errors_file=ERRORS_FILE,
        errors=_counted(report, worst),
    )
