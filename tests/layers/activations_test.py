# SPDX-License-Identifier: Apache-2.0
"""The activations by hand, and in training against PyTorch's."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.layers.activations import activation


def test_by_hand():
    # x * Phi(x) at 1 is 0.841345 (exact); the tanh form gives 0.841192.
    one = np.array([1.0], "float32")
    assert float(activation("gelu_erf")(one)[0]) == pytest.approx(0.841345)
    assert float(activation("gelu")(one)[0]) == pytest.approx(0.841192)
    for training in (False, True):
        assert float(activation("relu")(-one, training=training)[0]) == 0
    with pytest.raises(ValueError, match="'swish'; wanted one of"):
        activation("swish")


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize(
    ("name", "their_form"), [("gelu", "tanh"), ("gelu_erf", "none")]
)
def test_training_gives_pytorchs_numbers_and_gradients(name, their_form, xla):
    torch = pytest.importorskip("torch")
    points = np.linspace(-12, 12, 4801, dtype="float32")
    weights = np.cos(points)  # a gradient that differs from point to point

    @tf.function(jit_compile=xla)
    def differentiated(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            got = activation(name)(x, training=True)
            loss = tf.reduce_sum(got * weights)
        return got, tape.gradient(loss, x)

    got, gradient = differentiated(tf.constant(points))
    x = torch.tensor(points, requires_grad=True)
    want = torch.nn.functional.gelu(x, approximate=their_form)
    want.backward(torch.tensor(weights))
    np.testing.assert_allclose(got, want.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(gradient, x.grad.numpy(), atol=5e-6)


@pytest.mark.parametrize("name", ["gelu", "gelu_erf"])
def test_what_answers_has_no_gradient_of_its_own(name):
    """A SavedModel would warn of it."""

    def operations(training):
        graph = tf.function(lambda x: activation(name)(x, training=training))
        graph = graph.get_concrete_function(tf.TensorSpec((None, 8))).graph
        return {operation.type for operation in graph.get_operations()}

    assert "IdentityN" in operations(True)  # where TensorFlow hangs it
    assert "IdentityN" not in operations(False)
