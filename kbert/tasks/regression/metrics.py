# SPDX-License-Identifier: Apache-2.0
"""Scores of predicted numbers."""

from collections.abc import Sequence

import numpy as np

METRIC = "pearson"  # by which the best model is chosen


def scores(
    predicted: Sequence[float], wanted: Sequence[float]
) -> dict[str, float]:
    """Pearson's and Spearman's correlation, and the mean squared error.

    Where all numbers of one side are alike, a correlation is nan.
    """
    found, gold = np.asarray(predicted, float), np.asarray(wanted, float)
    return {
        "pearson": _pearson(found, gold),
        "spearman": _pearson(_ranks(found), _ranks(gold)),
        "squared_error": float(np.mean(np.square(found - gold))),
    }


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    length = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / length) if length > 0 else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    """From 1; equal values share the mean of theirs."""
    _, group, counts = np.unique(
        values, return_inverse=True, return_counts=True
    )
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[group]
