# SPDX-License-Identifier: Apache-2.0
"""Scores of rankings: how high the relevant texts of a query stand.

They are what sentence-transformers' InformationRetrievalEvaluator computes.
That has no grades; where a query has several, nDCG weighs them as trec_eval
does (a grade of 2 is twice a grade of 1). trec_eval itself divides the
average precision by the relevant texts, even where they are more than 100.
"""

from collections.abc import Mapping, Sequence

import numpy as np

METRIC = "ndcg@10"  # by which the best model is chosen
DEPTH = 100  # no score looks at texts of a higher rank


def query_scores(
    ranking: Sequence[int], relevant: Mapping[int, int]
) -> dict[str, float]:
    """The scores of one query.

    Args:
        ranking: the indices of texts, the best first; DEPTH of them are
            enough, and those that it lacks are not found.
        relevant: the indices of the relevant texts, one or more, each with
            its grade, from 1.
    """
    grades = np.array([relevant.get(x, 0) for x in ranking[:DEPTH]], float)
    found = np.flatnonzero(grades)  # ranks from 0, in order
    first = found[0] if found.size else DEPTH
    precisions = np.arange(1, found.size + 1) / (found + 1)
    best = np.sort([*relevant.values()])[::-1]
    scores = {
        "mrr@10": 1 / (first + 1) if first < 10 else 0,
        "ndcg@10": _gain(grades) / _gain(best),
        f"map@{DEPTH}": precisions.sum() / min(len(relevant), DEPTH),
        "accuracy@1": first < 1,
        "accuracy@10": first < 10,
        "recall@10": (found < 10).sum() / len(relevant),
        f"recall@{DEPTH}": found.size / len(relevant),
    }
    return {name: float(score) for name, score in scores.items()}


def scores(
    rankings: Sequence[Sequence[int]],
    relevant: Sequence[Mapping[int, int]],
) -> dict[str, float]:
    """The means of the scores of all queries; see `query_scores`."""
    rows = [
        query_scores(*query) for query in zip(rankings, relevant, strict=True)
    ]
    return {
        name: float(np.mean([row[name] for row in rows])) for name in rows[0]
    }


def _gain(grades: np.ndarray) -> float:
    """The discounted cumulative gain of the first 10."""
    grades = grades[:10]
    return float(np.sum(grades / np.log2(np.arange(2, len(grades) + 2))))
