# SPDX-License-Identifier: Apache-2.0
"""Numbers: the model's output and the scores by hand."""

import math

import pytest

from kbert import tasks
from kbert.tasks.regression import metrics


@pytest.mark.parametrize(
    ("found", "pearson", "spearman", "squared_error"),
    [
        ([1.0, 2.0, 10.0], 9 / math.sqrt(438 / 9 * 2), 1.0, 49 / 3),
        ([1.0, 1.0, 2.0], math.sqrt(3) / 2, math.sqrt(3) / 2, 2 / 3),  # a tie
    ],
)
def test_scores_by_hand(found, pearson, spearman, squared_error):
    assert metrics.scores(found, [1.0, 2.0, 3.0]) == pytest.approx(
        {
            "pearson": pearson,
            "spearman": spearman,
            "squared_error": squared_error,
        }
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
