# SPDX-License-Identifier: Apache-2.0
"""Exact search for the nearest vectors, in bounded memory."""

import numpy as np

_QUERIES, _DOCUMENTS = 2**10, 2**13  # vectors that are compared at a time


def nearest(
    queries: np.ndarray, corpus: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the vectors with the highest cosines.

    Args:
        queries: (Q, D) float, one or more.
        corpus: (N, D) float, one or more; it may be a memory map.
        count: K, how many to find; at most N are.
    Returns: their cosines (Q, K) float32, the highest first, and their indices
        (Q, K) int64; of equal cosines the lower index comes first.
    """
    blocks = range(0, len(queries), _QUERIES)
    found = [
        _nearest(unit(queries[start : start + _QUERIES]), corpus, count)
        for start in blocks
    ]
    scores, indices = zip(*found, strict=True)
    return np.concatenate(scores), np.concatenate(indices)


def _nearest(queries, corpus, count):
    scores = np.empty((len(queries), 0), np.float32)
    indices = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(corpus), _DOCUMENTS):
        found = queries @ unit(corpus[start : start + _DOCUMENTS]).T
        own = np.arange(start, start + found.shape[1])
        scores, indices = _best(
            np.concatenate([scores, found], 1),
            np.concatenate([indices, np.broadcast_to(own, found.shape)], 1),
            count,
        )
    return scores, indices


def _best(scores, indices, count):
    if scores.shape[1] > count:
        kept = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        scores = np.take_along_axis(scores, kept, 1)
        indices = np.take_along_axis(indices, kept, 1)
    order = np.lexsort((indices, -scores), axis=1)
    return (
        np.take_along_axis(scores, order, 1),
        np.take_along_axis(indices, order, 1),
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, D) divided by their lengths."""
    vectors = np.asarray(vectors, np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, 1e-12)
