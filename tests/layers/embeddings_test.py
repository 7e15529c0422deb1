# SPDX-License-Identifier: Apache-2.0
"""The sum of token, segment and position, by hand."""

import numpy as np
import pytest

from kbert.layers import Embeddings

H = 4


def _embeddings(**changes):
    arguments = {
        "max_position_embeddings": 6,
        "type_vocab_size": 2,
        "position_embedding": "learned",
        "layer_norm_epsilon": 1e-12,
        "dropout": 0.0,
        "initializer_range": 0.2,
    }
    return Embeddings(**{**arguments, **changes})


def _normed(rows):
    centred = rows - rows.mean(-1, keepdims=True)
    return centred / rows.std(-1, keepdims=True)


def test_the_sum_is_normed():
    layer = _embeddings()
    rows = np.random.default_rng(1).normal(size=(2, 3, H)).astype("float32")
    segments = np.array([[0, 1, 1], [1, 0, 0]], "int32")
    got = layer(rows, segments)
    positions = layer.position_table.numpy()[:3]
    want = _normed(rows + positions + layer.segment_table.numpy()[segments])
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_one_segment_is_that_of_all():
    layer = _embeddings(type_vocab_size=1)
    rows = np.random.default_rng(1).normal(size=(2, 3, H)).astype("float32")
    got = layer(rows, np.array([[0, 1, 1], [1, 0, 0]], "int32"))
    positions = layer.position_table.numpy()[:3]
    want = _normed(rows + positions + layer.segment_table.numpy()[0])
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_flat_rows_take_their_positions():
    layer = _embeddings()
    rows = np.random.default_rng(2).normal(size=(2, 3, H)).astype("float32")
    segments = np.array([[0, 1, 1], [1, 0, 0]], "int32")
    padded = np.asarray(layer(rows, segments)).reshape(-1, H)[[0, 1, 3, 4, 5]]
    flat = rows.reshape(-1, H)[[0, 1, 3, 4, 5]]
    ids = segments.reshape(-1)[[0, 1, 3, 4, 5]]
    got = layer(flat, ids, np.array([0, 1, 0, 1, 2], "int32"))
    np.testing.assert_allclose(got, padded, atol=1e-6)


def test_sinusoids_are_those_of_the_paper():
    # Vaswani et al. 2017, section 3.5: PE(pos, 2i) = sin(pos / 10000^(2i/d)).
    layer = _embeddings(position_embedding="sinusoidal")
    rows = np.zeros((1, 3, H), "float32")
    got = layer(rows, np.zeros((1, 3), "int32"))
    segment = layer.segment_table.numpy()[0]
    sinusoids = [
        [np.sin(p), np.cos(p), np.sin(p / 100), np.cos(p / 100)]
        for p in range(3)
    ]
    want = _normed(np.array(sinusoids) + segment)
    np.testing.assert_allclose(got[0], want, atol=1e-5)
    assert len(layer.trainable_variables) == 3  # segments, gamma, beta


def test_a_sequence_beyond_the_table_is_named():
    with pytest.raises(ValueError, match="6 positions; got a sequence of 7"):
        _embeddings().build((None, 7, H), (None, 7))


def test_ids_of_another_rank_are_named():
    with pytest.raises(ValueError, match="got .*None, 5, 4.* and .*5,"):
        _embeddings().build((None, 5, H), (5,))
