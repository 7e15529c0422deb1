# SPDX-License-Identifier: Apache-2.0
"""Scores of rankings, worked out by hand."""

import math

import pytest

from kbert.tasks.retrieval_scores import query_scores, scores


def test_two_of_three_relevant_texts_are_found():
    """At ranks 2 and 4; the third is not in the ranking."""
    found = query_scores([9, 5, 8, 7], {5: 1, 7: 1, 6: 1})
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert found == pytest.approx(
        {
            "mrr@10": 1 / 2,
            "ndcg@10": (1 / math.log2(3) + 1 / math.log2(5)) / ideal,
            "map@100": (1 / 2 + 2 / 4) / 3,
            "accuracy@1": 0,
            "accuracy@10": 1,
            "recall@10": 2 / 3,
            "recall@100": 2 / 3,
        }
    )


def test_ranks_below_the_tenth_count_in_two_scores_alone():
    found = query_scores([*range(10), 50], {50: 1})
    assert found.pop("map@100") == pytest.approx(1 / 11)
    assert found.pop("recall@100") == 1
    assert set(found.values()) == {0}
    assert set(query_scores([*range(101)], {100: 1}).values()) == {0}


def test_a_grade_weighs_the_gain_alone():
    """The better text at rank 2, the other at rank 1."""
    equal, graded = (query_scores([3, 4], {3: 1, 4: x}) for x in (1, 2))
    assert equal.pop("ndcg@10") == 1
    gain = (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))
    assert graded.pop("ndcg@10") == pytest.approx(gain)
    assert equal == graded


def test_more_relevant_texts_than_ranks():
    """A ranking of nothing but relevant texts is the best one."""
    found = query_scores([*range(100)], dict.fromkeys(range(200), 1))
    assert found["map@100"] == found["ndcg@10"] == 1
    assert found["recall@10"] == 10 / 200
    assert found["recall@100"] == 100 / 200


def test_the_score_of_several_queries_is_the_mean():
    found = scores([[0, 1], [0, 1]], [{0: 1}, {1: 1}])
    assert found["mrr@10"] == (1 + 1 / 2) / 2
    assert found["accuracy@1"] == 1 / 2
