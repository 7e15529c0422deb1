# SPDX-License-Identifier: Apache-2.0
"""Scores of predicted numbers, computed by SciPy and scikit-learn.

They are imported where they are called: predictions need no second for them.
"""

import math
import warnings
from collections.abc import Sequence

METRIC = "pearson"  # by which the best model is chosen


def scores(
    predicted: Sequence[float], references: Sequence[float]
) -> dict[str, float]:
    """The correlations and the mean squared error."""
    from sklearn import metrics

    error = metrics.mean_squared_error(references, predicted)
    return {
        **correlations(predicted, references),
        "squared_error": float(error),
    }


def correlations(
    predicted: Sequence[float], references: Sequence[float]
) -> dict[str, float]:
    """Pearson's and Spearman's correlation.

    A correlation is nan where all numbers of one side are equal.
    """
    from scipy import stats

    pearson = spearman = math.nan
    if len({*predicted}) > 1 and len({*references}) > 1:
        with warnings.catch_warnings():  # of numbers that are nearly equal
            warnings.simplefilter("ignore", stats.NearConstantInputWarning)
            pearson = stats.pearsonr(predicted, references).statistic
        spearman = stats.spearmanr(predicted, references).statistic
    return {"pearson": float(pearson), "spearman": float(spearman)}
