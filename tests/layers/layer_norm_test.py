# SPDX-License-Identifier: Apache-2.0
"""The norm in training against PyTorch's."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.layers import LayerNorm

_EPSILON = 0.1  # large, so that it matters where it is added


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8)])
def test_training_gives_pytorchs_numbers_and_gradients(shape, xla):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    rows, weights = rng.normal(1, 2, size=(2, *shape)).astype("float32")
    gamma, beta = rng.normal(size=(2, shape[-1])).astype("float32")
    layer = LayerNorm(epsilon=_EPSILON)
    layer.build(shape)
    layer.set_weights([gamma, beta])

    @tf.function(jit_compile=xla)
    def differentiated(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            got = layer(x, training=True)
            loss = tf.reduce_sum(got * weights)
        variables = [x, layer.gamma.value, layer.beta.value]
        return got, tape.gradient(loss, variables)

    got, got_gradients = differentiated(tf.constant(rows))

    theirs = [torch.tensor(v, requires_grad=True) for v in (rows, gamma, beta)]
    want = torch.nn.functional.layer_norm(
        theirs[0], shape[-1:], *theirs[1:], eps=_EPSILON
    )
    (want * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(got, want.detach().numpy(), atol=2e-6)
    np.testing.assert_allclose(layer(rows), want.detach().numpy(), atol=2e-6)
    for mine, their in zip(got_gradients, theirs, strict=True):
        np.testing.assert_allclose(mine, their.grad.numpy(), atol=1e-5)


def test_inference_has_no_custom_gradient():
    """A SavedModel would warn about it."""
    layer = LayerNorm(epsilon=_EPSILON)

    def operations(training):
        graph = tf.function(lambda x: layer(x, training=training))
        graph = graph.get_concrete_function(tf.TensorSpec((None, 8))).graph
        return {operation.type for operation in graph.get_operations()}

    assert "IdentityN" in operations(True)  # custom_gradient's op
    assert "IdentityN" not in operations(False)
