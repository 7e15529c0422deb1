# SPDX-License-Identifier: Apache-2.0
"""The cross-entropy of few passes against Keras's own and by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.training import losses

# A label whose probability is below the smallest float, one that is certain,
# a tie, and ordinary ones.
LOGITS = np.array(
    [
        [[0.0, 200.0, -3.0], [60.0, -60.0, 0.0]],
        [[1.5, 1.5, 1.5], [-2.0, 0.5, 3.0]],
        [[1e4, 9e3, -1e4], [0.1, -0.2, 0.3]],
    ],
    "float32",
)
LABELS = np.array([[0, 0], [2, 1], [0, 2]], "int32")
WEIGHTS = np.array([[1.0, 0.5], [0.0, 2.0], [1.0, 3.0]], "float32")


def _value_and_gradient(loss):
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(LABELS, logits, sample_weight=WEIGHTS)
    return value, tape.gradient(value, logits)


@pytest.mark.parametrize("in_graph", [False, True])
def test_it_is_keras_own_cross_entropy(in_graph):
    run = tf.function(_value_and_gradient) if in_graph else _value_and_gradient
    keras_own = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    value, gradient = run(losses.CrossEntropy())
    want, wanted_gradient = run(keras_own)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(gradient, wanted_gradient, atol=1e-7)
    assert np.abs(gradient).max() > 0.1


def test_an_improbable_label_keeps_its_loss():
    values = losses.CrossEntropy(reduction=None)(LABELS, LOGITS).numpy()
    assert values[0, 0] == pytest.approx(200, rel=1e-6)
    assert values[1, 0] == pytest.approx(np.log(3), rel=1e-6)


def test_it_is_saved_with_a_compiled_model():
    loss = losses.CrossEntropy(reduction="sum", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is losses.CrossEntropy
    assert (again.name, again.reduction) == ("mine", "sum")
