# SPDX-License-Identifier: Apache-2.0
"""Scores of vectors: correlations of cosines, and what a search finds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.tasks import retrieval_scores
from kbert.tasks.embedding import search
from kbert.tasks.regression import metrics as regression

_SHOWN = 3  # documents that were found
_Found = Sequence[Mapping[str, Any]]


def cosines(
    first: np.ndarray, second: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> list[dict[str, float]]:
    """The cosine of each pair.

    Args:
        first: (Q, D) vectors.
        second: (N, D) vectors.
        pairs: indices of both.
    """
    first, second = search.unit(first), search.unit(second)
    return [{"cosine": float(first[a] @ second[b])} for a, b in pairs]


def found(
    columns: Sequence[Sequence[str]],
    queries: Mapping[str, int],
    documents: Mapping[str, int],
    query_vectors: np.ndarray,
    document_vectors: np.ndarray,
) -> list[dict[str, Any]]:
    """What a search of all documents finds for the query of each row.

    Args:
        columns: the texts of the rows, a query and a relevant document first.
        queries: the index of each query.
        documents: the index of each document.
        query_vectors: (Q, D).
        document_vectors: (N, D).
    Returns: for each row "rank", from 1, of its document, None if it is not
        among the first 100; "found", the best documents with their cosines;
        "scores" of the query, of `retrieval_scores`.
    """
    relevant: list[dict[int, int]] = [{} for _ in queries]
    for query, document in zip(*columns[:2], strict=True):
        relevant[queries[query]][documents[document]] = 1
    depth = retrieval_scores.DEPTH
    scores, indices = search.nearest(query_vectors, document_vectors, depth)
    by_query = [
        retrieval_scores.query_scores(*x)
        for x in zip(indices.tolist(), relevant, strict=True)
    ]
    names = [*documents]
    rows = []
    for query, document in zip(*columns[:2], strict=True):
        at = queries[query]
        ranking = indices[at].tolist()
        own = documents[document]
        best = zip(ranking[:_SHOWN], scores[at].tolist(), strict=False)
        rows.append(
            {
                "rank": ranking.index(own) + 1 if own in ranking else None,
                "found": [{"text": names[i], "cosine": x} for i, x in best],
                "scores": by_query[at],
            }
        )
    return rows


def of_queries(rows: _Found, queries: Sequence[str]) -> dict[str, float]:
    """The means of the scores of the queries, each counted once."""
    by_query = {q: x["scores"] for q, x in zip(queries, rows, strict=True)}
    names = next(iter(by_query.values()))
    return {
        name: float(np.mean([x[name] for x in by_query.values()]))
        for name in names
    }


def of_cosines(rows: _Found, labels: Sequence[float]) -> dict[str, float]:
    """Pearson's and Spearman's correlation of the cosines with the labels."""
    return regression.correlations([row["cosine"] for row in rows], labels)


def agreement(rows: _Found, labels: Sequence[float]) -> list[float]:
    """1 less the difference of the ranks of cosine and label, as shares."""
    from scipy import stats

    ranks = [
        stats.rankdata(values) / len(values)
        for values in ([row["cosine"] for row in rows], labels)
    ]
    return (1 - np.abs(ranks[0] - ranks[1])).tolist()
