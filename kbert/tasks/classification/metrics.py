# SPDX-License-Identifier: Apache-2.0
"""Scores of predicted classes, computed by scikit-learn.

It is imported where it is called: predictions need no second for it.
"""

from collections.abc import Sequence

import numpy as np

METRIC = "accuracy"  # by which the best model is chosen


def scores(
    predicted: Sequence[str], references: Sequence[str], labels: Sequence[str]
) -> dict[str, float]:
    """Accuracy, F1 and Matthews' correlation.

    With two labels `f1` is that of the last one, such as "1" of "0" and "1".
    With more, `macro_f1` is the mean over the labels that occur on either
    side. The correlation is defined for any number of classes (Gorodkin 2004,
    doi:10.1016/j.compbiolchem.2004.09.006, equation 8), and 0 where one side
    has a single class.
    """
    from sklearn import metrics

    is_binary = len(labels) == 2
    f1 = metrics.f1_score(
        references,
        predicted,
        labels=labels[-1:] if is_binary else None,
        average="macro",
        zero_division=0.0,
    )
    return {
        "accuracy": float(metrics.accuracy_score(references, predicted)),
        "f1" if is_binary else "macro_f1": float(f1),
        "matthews": _matthews(references, predicted),
    }


def _matthews(references, predicted) -> float:
    from sklearn import metrics

    if len({*references}) == 1 or len({*predicted}) == 1:
        return 0.0  # scikit-learn's value too, after a warning
    return float(metrics.matthews_corrcoef(references, predicted))


def multi_label_scores(
    predicted: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    labels: Sequence[str],
) -> dict[str, float]:
    """Accuracy (rows whose labels are all right), micro and macro F1.

    The macro F1 is the mean over all labels; that of a label that occurs on
    neither side is 0.
    """
    found, gold = (
        _indicators(predicted, labels),
        _indicators(references, labels),
    )
    report = class_report(predicted, references, labels)
    return {
        "accuracy": float(np.mean((found == gold).all(1))),
        "f1": _binary_report(gold.ravel(), found.ravel())["f1"],
        "macro_f1": float(np.mean([x["f1"] for x in report.values()])),
    }


def class_report(
    predicted: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    labels: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and number of rows of each label.

    Args:
        predicted: the predicted labels of each row, one or several.
        references: the right labels of each row.
        labels: to report on.
    """
    found, gold = (
        _indicators(predicted, labels),
        _indicators(references, labels),
    )
    return {
        label: _binary_report(gold[:, index], found[:, index])
        for index, label in enumerate(labels)
    }


def _indicators(rows, labels) -> np.ndarray:
    """Whether each row has each label, (rows, C) bool."""
    return np.array([[x in row for x in labels] for row in map(set, rows)])


def _binary_report(gold, found) -> dict[str, float]:
    """The scores of one class; 0 where they would divide by 0."""
    from sklearn import metrics

    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        gold, found, average="binary", zero_division=0.0
    )
    return {
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "rows": int(gold.sum()),
    }
