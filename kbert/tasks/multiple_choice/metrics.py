# SPDX-License-Identifier: Apache-2.0
"""Scores of chosen choices."""

from collections.abc import Sequence

import numpy as np

METRIC = "accuracy"  # by which the best model is chosen


def scores(
    predicted: Sequence[int], references: Sequence[int]
) -> dict[str, float]:
    """The accuracy of the chosen indices, from 0."""
    pairs = zip(predicted, references, strict=True)
    return {
        "accuracy": float(np.mean([found == gold for found, gold in pairs]))
    }
