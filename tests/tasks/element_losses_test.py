# SPDX-License-Identifier: Apache-2.0
"""Losses of each element, against their definitions."""

import numpy as np

from kbert.tasks.element_losses import BinaryCrossentropy, SquaredError


def test_binary_cross_entropy_of_each_element():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 3)).astype("float32")
    logits[0, 0] = -1e9  # of what may not be chosen
    labels = (rng.random((4, 3)) < 0.5).astype("float32")
    labels[0, 0] = 0
    got = np.array(BinaryCrossentropy().call(labels, logits))
    p = 1 / (1 + np.exp(-logits[1:].astype("float64")))
    want = -np.log(np.where(labels[1:] == 1, p, 1 - p))
    np.testing.assert_allclose(got[1:], want, rtol=1e-5)
    assert got[0, 0] == 0
    assert np.isclose(BinaryCrossentropy()(labels, logits), got.mean())


def test_squared_error_of_each_element():
    values, labels = np.float32([1.0, 5.0, 2.0]), np.float32([2.0, 2.0, 2.0])
    assert np.array(SquaredError().call(labels, values)).tolist() == [1, 9, 0]
    weights = np.float32([2.0, 0.0, 1.0])
    assert np.isclose(float(SquaredError()(labels, values, weights)), 2 / 3)
