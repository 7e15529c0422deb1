# SPDX-License-Identifier: Apache-2.0
"""The layers of the masked-LM output, each by hand."""

import numpy as np
import tensorflow as tf

from kbert.layers import AddBias, MlmTransform


def test_transform_is_dense_relu_norm():
    layer = MlmTransform("relu", 1e-12, 0.5)
    hidden = np.random.default_rng(5).normal(size=(2, 3, 6)).astype("float32")
    got = layer(hidden)
    inner = np.maximum(hidden @ layer.kernel.numpy(), 0)
    centred = inner - inner.mean(-1, keepdims=True)
    want = centred / np.sqrt(inner.var(-1, keepdims=True) + 1e-12)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_bias_is_added_along_the_last_axis():
    layer = AddBias()
    logits = np.zeros((2, 1, 3), "float32")
    layer.build(logits.shape)
    layer.bias.assign([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(layer(logits), [[[1, 2, 3]], [[1, 2, 3]]])


def test_custom_gradients_are_in_training_alone():
    """That of the norm; a SavedModel would warn about it."""
    layer = MlmTransform("gelu", 1e-12, 0.5)

    def count(training):
        graph = tf.function(lambda hidden: layer(hidden, training=training))
        graph = graph.get_concrete_function(tf.TensorSpec((2, 6))).graph
        return [op.type for op in graph.get_operations()].count("IdentityN")

    assert (count(True), count(False)) == (1, 0)
