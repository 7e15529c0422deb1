# SPDX-License-Identifier: Apache-2.0
"""Scores of rerankers: of single pairs, and of the order of a query's texts."""

import collections
import math
from collections.abc import Sequence

import numpy as np

from kbert.tasks import retrieval_scores

_RANKING = ("mrr@10", "ndcg@10")
_Numbers = Sequence[Sequence[float]]


def scores(
    queries: Sequence[str],
    candidates: Sequence[Sequence[str]],
    predicted: _Numbers,
    labels: _Numbers,
    threshold: float,
) -> dict[str, float]:
    """Accuracy and average precision of pairs; MRR and nDCG of queries.

    A text is relevant if its label is 0.5 or more. The accuracy is that of
    taking texts from a threshold on for relevant. The average precision is
    nan where no text, and MRR@10 and nDCG@10 are missing where no query, has
    both kinds. They are the means over the queries that have; of equal scores
    the relevant text counts as the lower one.

    Args:
        queries: the query of each row; rows may have the same.
        candidates: the texts of each row.
        predicted: the score of each text.
        labels: the label of each text, 0 to 1.
        threshold: the lowest score of a text that counts as relevant.
    """
    from sklearn.metrics import average_precision_score

    found = np.concatenate([np.array(row) for row in predicted])
    gold = np.concatenate([np.array(row) for row in labels]) >= 0.5
    precision = math.nan
    if len({*gold.tolist()}) == 2:
        precision = float(average_precision_score(gold, found))
    by_query = collections.defaultdict(dict)
    for query, *row in zip(queries, candidates, predicted, labels, strict=True):
        for text, score, label in zip(*row, strict=True):
            # A text that is in several rows counts once.
            known = by_query[query].get(text, (score, False))
            by_query[query][text] = score, known[1] or label >= 0.5
    ranked = [
        ranking_scores([*texts.values()])
        for texts in by_query.values()
        if len({is_relevant for _, is_relevant in texts.values()}) == 2
    ]
    return {
        "accuracy": float(np.mean((found >= threshold) == gold)),
        "average_precision": precision,
        **{
            name: float(np.mean([row[name] for row in ranked]))
            for name in _RANKING
            if ranked
        },
    }


def ranking_scores(
    texts: Sequence[tuple[float, bool]],
) -> dict[str, float]:
    """MRR@10 and nDCG@10 of one query.

    Args:
        texts: the score of each, and whether it is relevant; one or more are.
    """
    order = sorted(texts, key=lambda text: (-text[0], text[1]))
    relevant = {i: 1 for i, (_, is_relevant) in enumerate(order) if is_relevant}
    found = retrieval_scores.query_scores(range(len(order)), relevant)
    return {name: found[name] for name in _RANKING}
