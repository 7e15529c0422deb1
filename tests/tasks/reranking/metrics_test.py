# SPDX-License-Identifier: Apache-2.0
"""Scores of rerankers, worked out by hand."""

import math

import pytest

from kbert.tasks.reranking.metrics import scores


def _pairs(*rows, threshold=0.5):
    """Of rows (query, text, score, label), as pairs."""
    queries, texts, found, labels = zip(*rows, strict=True)
    texts, found, labels = (
        [[x] for x in column] for column in (texts, found, labels)
    )
    return scores(queries, texts, found, labels, threshold)


def test_pairs_of_two_queries():
    """The third query has one kind of text: no order to score."""
    got = _pairs(
        ("a", "1", 0.9, 0),
        ("b", "1", 0.2, 0),
        ("a", "2", 0.8, 1),
        ("b", "2", 0.3, 0.5),
        ("c", "1", 0.1, 1),
    )
    # By score: 0, 1, 1, 0, 1.
    assert got == pytest.approx(
        {
            "accuracy": 2 / 5,
            "average_precision": (1 / 2 + 2 / 3 + 3 / 5) / 3,
            "mrr@10": (1 / 2 + 1) / 2,
            "ndcg@10": (1 / math.log2(3) + 1) / 2,
        }
    )


def test_a_threshold_of_logits():
    got = _pairs(("a", "1", -0.1, 0), ("b", "1", 0.1, 1), threshold=0.0)
    assert got == {"accuracy": 1, "average_precision": 1}


def test_of_equal_scores_the_relevant_text_is_the_lower_one():
    """Else a model that knows nothing would be the best one."""
    got = scores(["a"], [["x", "y", "z"]], [[0.5] * 3], [[1, 0, 0]], 0.5)
    assert got["mrr@10"] == pytest.approx(1 / 3)


def test_lists_with_a_query_and_texts_in_common():
    """The positive of both rows counts once, and so does a negative."""
    got = scores(
        ["a", "a"],
        [["p", "n", "m"], ["p", "m", "o"]],
        [[0.5, 0.7, 0.1], [0.5, 0.1, 0.6]],
        [[1, 0, 0]] * 2,
        0.5,
    )
    assert got["mrr@10"] == pytest.approx(1 / 3)  # n, o, p, m
    assert got["accuracy"] == 4 / 6


def test_a_text_that_is_relevant_in_one_row_is_in_all():
    got = scores(
        ["a", "a"],
        [["p", "n"], ["q", "p"]],
        [[0.9, 0.5], [0.1, 0.9]],
        [[1, 0]] * 2,
        0.5,
    )
    # p, n, q
    best = 1 + 1 / math.log2(3)
    assert got["ndcg@10"] == pytest.approx((1 + 1 / math.log2(4)) / best)


def test_one_kind_of_texts():
    got = _pairs(("a", "1", 0.9, 0), ("a", "2", 0.8, 0))
    assert math.isnan(got.pop("average_precision"))
    assert got == {"accuracy": 0}
