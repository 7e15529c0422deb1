# SPDX-License-Identifier: Apache-2.0
"""Search in blocks against sorting all cosines."""

import numpy as np
import pytest

from kbert.tasks.embedding import search


@pytest.mark.parametrize("count", [1, 7, 40])
def test_blocks_find_what_sorting_finds(count, monkeypatch):
    monkeypatch.setattr(search, "_DOCUMENTS", 8)
    monkeypatch.setattr(search, "_QUERIES", 3)
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(7, 5)).astype("float32")
    corpus = rng.normal(size=(29, 5)).astype("float32")
    corpus[11] = corpus[4]  # of equal cosine
    norms = [
        np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, corpus)
    ]
    cosines = (queries / norms[0]) @ (corpus / norms[1]).T
    want = np.argsort(-np.round(cosines, 6), axis=1, kind="stable")[:, :count]
    scores, indices = search.nearest(queries, corpus, count)
    np.testing.assert_array_equal(indices, want)
    want = np.take_along_axis(cosines, want, 1)
    np.testing.assert_allclose(scores, want, atol=1e-6)
