# SPDX-License-Identifier: Apache-2.0
"""Numbers: the model's output and the scores against SciPy's."""

import math

import numpy as np
import pytest

from kbert import tasks
from kbert.tasks.regression import metrics


def test_scores_are_those_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    for ties in (False, True):
        wanted, found = rng.normal(size=(2, 50)) + rng.normal(size=50)
        if ties:
            wanted, found = wanted.round(), found.round()
        assert metrics.scores(found.tolist(), wanted.tolist()) == (
            pytest.approx(
                {
                    "pearson": stats.pearsonr(found, wanted).statistic,
                    "spearman": stats.spearmanr(found, wanted).statistic,
                    "squared_error": np.mean((found - wanted) ** 2),
                }
            )
        )


def test_numbers_that_are_all_alike_have_no_correlation():
    scores = metrics.scores([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    assert math.isnan(scores["pearson"]) and math.isnan(scores["spearman"])
    assert scores["squared_error"] == pytest.approx(2 / 3)


def test_a_number_for_each_row(tiny_config, batch):
    spec = tasks.TaskSpec(task="regression", max_seq_length=8)
    model = tasks.build(tiny_config, spec)
    value = model({name: batch[name] for name in model.input})["value"]
    assert value.shape == (3,)
    assert len({float(x) for x in value}) == 3
