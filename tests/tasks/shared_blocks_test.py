# SPDX-License-Identifier: Apache-2.0
"""Models of which a graph holds one block, against the same ones plain."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from kbert import models, tasks
from kbert.tasks import TaskSpec
from kbert.tasks.shared_blocks import SharedBlocks

_BLOCKS = 3
_PARTS = 4  # that attention has


def _model(config, task, **parts):
    """Whose blocks differ in their weights."""
    config = dataclasses.replace(config, num_hidden_layers=_BLOCKS)
    model = tasks.build(config, TaskSpec(task=task, max_seq_length=8, **parts))
    rng = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return model


def _inputs(model, batch):
    return {name: tf.constant(batch[name], tf.int32) for name in model.input}


def _graph(*called):
    """That of a function which calls models."""
    specs = {
        name: tf.TensorSpec((None, None), tf.int32, name)
        for name in called[0].input
    }
    run = tf.function(lambda inputs: [model(inputs) for model in called])
    return run.get_concrete_function(specs)


def _ops(graph, kind):
    """How often there is one in the functions of a graph, called or not."""
    functions = graph.graph.as_graph_def().library.function
    return sum(node.op == kind for f in functions for node in f.node_def)


def test_a_graph_holds_one_block_for_all_and_one_model_for_its_calls(
    tiny_config, batch
):
    model = _model(tiny_config, "encoder")
    unpadded = SharedBlocks().of(model)
    graph = _graph(unpadded, unpadded)
    assert _ops(graph, "Softmax") == _PARTS
    assert _ops(graph, "PartitionedCall") == _BLOCKS
    is_token = batch["padding_mask"] != 0
    want = model(_inputs(model, batch))["sequence"].numpy()[is_token]
    for got in graph(_inputs(model, batch)):
        found = got["sequence"].numpy()[is_token]
        np.testing.assert_allclose(found, want, atol=2e-6)


def test_a_task_and_its_encoder_share_all_blocks_but_the_tasks_last(
    tiny_config,
):
    """Which computes one row of a text, and is a separate function."""
    model = _model(tiny_config, "classification", labels=("a", "b"))
    shared = SharedBlocks()
    graph = _graph(shared.of(model), shared.of(models.encoder_of(model)))
    assert _ops(graph, "Softmax") == 2 * _PARTS


def test_a_graph_follows_the_weights(tiny_config, batch):
    model = _model(tiny_config, "classification", labels=("a", "b"))
    graph = _graph(SharedBlocks().of(model))
    (before,) = graph(_inputs(model, batch))
    kernel = model.get_layer("block_1").inner_kernel
    kernel.assign(kernel + 0.5)
    (after,) = graph(_inputs(model, batch))
    assert np.abs(after["logits"] - before["logits"]).max() > 1e-3
    want = model(_inputs(model, batch))["logits"]
    np.testing.assert_allclose(after["logits"], want, atol=2e-6)


def test_weights_and_sums_stay_in_float32_under_a_mixed_policy(
    tiny_config, batch
):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = _model(tiny_config, "encoder")
        # Both as graphs, which round after a product's bias, not before.
        want, got = (
            _graph(called)(_inputs(model, batch))[0]["sequence"].numpy()
            for called in (model, SharedBlocks().of(model))
        )
    finally:
        keras.config.set_dtype_policy("float32")
    is_token = batch["padding_mask"] != 0
    # The products round alike.
    np.testing.assert_allclose(got[is_token], want[is_token], atol=1e-3)
