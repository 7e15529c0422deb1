# SPDX-License-Identifier: Apache-2.0
"""Scores of predicted classes."""

from collections.abc import Sequence

import numpy as np

METRIC = "accuracy"  # by which the best model is chosen


def scores(
    predicted: Sequence[str], wanted: Sequence[str], labels: Sequence[str]
) -> dict[str, float]:
    """Accuracy, Matthews' correlation, and F1, as scikit-learn has them.

    With two labels `f1` is the last one's, such as "1" of "0" and "1". With
    more `macro_f1` is the mean of those labels' that rows have or are given;
    others, of which there is nothing to score, do not count. The correlation
    is that of Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006, equation
    8, for any number of classes; 0 where one side has a single class.
    """
    place = {label: i for i, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)))  # wanted, predicted
    pairs = zip(wanted, predicted, strict=True)
    for row, column in ((place[w], place[p]) for w, p in pairs):
        table[row, column] += 1
    reports = _reports(np.diag(table), table.sum(0), table.sum(1))
    if len(labels) == 2:
        f1 = {"f1": reports[-1]["f1"]}
    else:
        occurs = table.sum(0) + table.sum(1) > 0
        every = np.array([report["f1"] for report in reports])
        f1 = {"macro_f1": float(every[occurs].mean())}
    return {
        "accuracy": float(np.trace(table) / table.sum()),
        **f1,
        "matthews": _matthews(table),
    }


def _matthews(table: np.ndarray) -> float:
    count, right = table.sum(), np.trace(table)
    wanted, predicted = table.sum(1), table.sum(0)
    spread = (count**2 - predicted @ predicted) * (count**2 - wanted @ wanted)
    if spread <= 0:
        return 0.0
    return float((right * count - wanted @ predicted) / np.sqrt(spread))


def scores_of_several(
    predicted: Sequence[Sequence[str]],
    wanted: Sequence[Sequence[str]],
    labels: Sequence[str],
) -> dict[str, float]:
    """Accuracy (rows whose labels are all right), micro and macro F1.

    As scikit-learn has them: the macro F1 is the mean of all labels', and 0
    for one that no row has or is given.
    """
    found, gold = _indicators(predicted, labels), _indicators(wanted, labels)
    right, given, there = (found & gold).sum(0), found.sum(0), gold.sum(0)
    (micro,) = _reports(*(np.array([x.sum()]) for x in (right, given, there)))
    macro = [report["f1"] for report in _reports(right, given, there)]
    return {
        "accuracy": float(np.mean((found == gold).all(1))),
        "f1": micro["f1"],
        "macro_f1": float(np.mean(macro)),
    }


def class_report(
    predicted: Sequence[Sequence[str]],
    wanted: Sequence[Sequence[str]],
    labels: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and rows of each label.

    Args:
        predicted: for each row the labels that it was given, one or several.
        wanted: those that it has.
        labels: to report on.
    """
    found, gold = _indicators(predicted, labels), _indicators(wanted, labels)
    sums = (found & gold).sum(0), found.sum(0), gold.sum(0)
    return dict(zip(labels, _reports(*sums), strict=True))


def _indicators(rows, labels) -> np.ndarray:
    """(rows, C) bool, which labels each row has."""
    return np.array([[x in row for x in labels] for row in map(set, rows)])


def _reports(right, given, there) -> list[dict[str, float]]:
    """Of each class's counts; 0 where there is nothing to divide by."""
    return [
        {
            "precision": float(r / g) if g else 0.0,
            "recall": float(r / t) if t else 0.0,
            "f1": float(2 * r / (g + t)) if g + t else 0.0,
            "rows": int(t),
        }
        for r, g, t in zip(right, given, there, strict=True)
    ]
