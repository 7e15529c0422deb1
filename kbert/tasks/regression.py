# SPDX-License-Identifier: Apache-2.0
"""A number for a sentence or a sentence pair, such as their similarity."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.tasks.heads import pooled_head
from kbert.tasks.losses import SquaredError

METRIC = "pearson"  # by which the best model is chosen


def build_regressor(config: BertConfig) -> keras.Model:
    """An encoder with one number on its pooled output.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32.
    Outputs: value (B,) float32.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 4.1, STS-B.
    """
    inputs, value = pooled_head(config, 1, "regressor")
    outputs = {features.VALUE: ops.squeeze(value, -1)}
    return keras.Model(inputs, outputs, name="regressor")


def losses() -> dict[str, keras.losses.Loss]:
    """The squared difference from each row's number."""
    return {features.VALUE: SquaredError()}


def metrics() -> dict[str, list[keras.metrics.Metric]]:
    """None but the loss: correlations are of all rows at once."""
    return {features.VALUE: []}


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
