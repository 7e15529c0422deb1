# SPDX-License-Identifier: Apache-2.0
"""Scores of a reranker on the texts that an embedder finds."""

import functools

import numpy as np

from kbert import features
from kbert.runs.progress import Progress
from kbert.tasks import retrieval_scores
from kbert.tasks.embedding import search
from kbert.tasks.embedding.data import Texts
from kbert.tasks.embedding.predictor import DOCUMENT, QUERY
from kbert.tasks.embedding.task import Embedder
from kbert.tasks.reranking.predictor import ORDER
from kbert.tasks.reranking.task import Reranker


def scores(
    reranker: Reranker,
    embedder: Embedder,
    rows: Texts,
    *,
    nearest: int,
    batch_size: int,
) -> dict[str, float]:
    """Searches for queries, and puts the best texts of each in another order.

    Args:
        reranker: which puts them in order.
        embedder: which finds them.
        rows: queries and positives, and other texts to search.
        nearest: how many texts of a query are put in order; the others that
            were found follow.
        batch_size: rows at once.
    Returns: of `retrieval_scores` those of the new order, and those of the
        search, "embedder " before their names.
    """
    queries = [*dict.fromkeys(rows.columns[0])]
    corpus = [*dict.fromkeys((*rows.columns[1], *rows.others))]
    numbers = {text: index for index, text in enumerate(corpus)}
    relevant: dict[str, dict[int, int]] = {query: {} for query in queries}
    for query, positive in zip(*rows.columns[:2], strict=True):
        relevant[query][numbers[positive]] = 1
    query_vectors = _vectors(embedder, queries, QUERY, batch_size)
    vectors = _vectors(embedder, corpus, DOCUMENT, batch_size)
    depth = max(nearest, retrieval_scores.DEPTH)
    _, found = search.nearest(query_vectors, vectors, depth)
    first = [[corpus[i] for i in row[:nearest]] for row in found]
    ordered = reranker.predictor.predict(
        queries,
        first,
        batch_size=batch_size,
        progress=functools.partial(Progress(), "reranking"),
    )
    rankings = [
        [*row[x[ORDER]].tolist(), *row[nearest:].tolist()]
        for row, x in zip(found, ordered, strict=True)
    ]
    gold = [*relevant.values()]
    before = retrieval_scores.scores(found.tolist(), gold)
    return {
        **retrieval_scores.scores(rankings, gold),
        **{f"embedder {name}": score for name, score in before.items()},
    }


def _vectors(embedder, texts, kind, batch_size) -> np.ndarray:
    found = embedder.predictor_of(kind).predict(
        texts,
        batch_size=batch_size,
        progress=functools.partial(Progress(), "embedding"),
    )
    return np.stack([row[features.EMBEDDING] for row in found])
