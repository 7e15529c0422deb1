# SPDX-License-Identifier: Apache-2.0
"""The work of a batch, counted by hand, and its products, by TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from kbert import models
from kbert.training import throughput
from kbert.training.throughput import Work


def test_work_leaves_padding_out():
    inputs = {"padding_mask": np.array([[1, 1, 1, 0], [2, 2, 0, 0]], "int32")}
    weights = {"mlm_logits": np.array([[0.5, 3.0], [1.0, 0.0]], "float32")}
    got = Work(*throughput.counted(inputs, weights).numpy())
    assert got == Work(2, 5, 9 + 4, 3, 3 * 3 + 2 * 2)
    got = Work(*throughput.counted(inputs, {}).numpy())
    assert got == Work(2, 5, 13, 0, 5)
    choices = {name: mask[np.newaxis] for name, mask in inputs.items()}
    assert Work(*throughput.counted(choices, {}).numpy()) == got


def test_flops_are_those_of_the_products_in_the_graph(tiny_config):
    """Rows without padding: there the model computes no more than it must."""
    model = models.build_pretrainer(tiny_config)
    rows, tokens, predictions = 3, 8, 2
    shapes = {name: (rows, tokens) for name in model.input}
    shapes["mask_positions"] = (rows, predictions)
    run = tf.function(lambda inputs: model(inputs, training=False))
    graph = run.get_concrete_function(
        {name: tf.TensorSpec(s, tf.int32) for name, s in shapes.items()}
    ).graph
    work = Work(
        *(rows, rows * tokens, rows * tokens**2, rows * predictions),
        rows * tokens * (predictions + 1),
    )
    forward = throughput.flops(work, tiny_config) / 3
    assert forward == pytest.approx(_product_flops(graph), rel=0.02)


def _product_flops(graph):
    """Of all matrix products, from their shapes, 2 for each multiplication."""
    total = 0
    for operation in graph.get_operations():
        if operation.type not in ("MatMul", "BatchMatMulV2"):
            continue
        if "one_hot" in operation.inputs[0].op.name:
            continue  # the segments' rows: a look-up
        inner = operation.inputs[0].shape[-1]
        if operation.type == "MatMul" and operation.get_attr("transpose_a"):
            inner = operation.inputs[0].shape[0]
        total += 2 * inner * np.prod(operation.outputs[0].shape)
    return float(total)


def test_measures_of_a_second(tiny_config):
    work = Work(*(1e6, 2e6, 4e6, 1e5, 1e5))
    got = throughput.measures(work, 2.0, config=tiny_config, peak_tflops=None)
    assert got["tokens_per_second"] == 1e6
    assert "flop_utilization" not in got
    assert 0.05 < got["peak_memory_gb"] < 100
    share = throughput.measures(
        work, 2.0, config=tiny_config, peak_tflops=got["model_tflops"] * 4
    )["flop_utilization"]
    assert share == pytest.approx(0.25)
