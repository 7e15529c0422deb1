# SPDX-License-Identifier: Apache-2.0
import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import pretrain_step
from benchmarks.peers import products
from benchmarks.pretrain_batches import Work, make_batches
from kbert.config import BertConfig
from kbert.training import throughput

WORK = Work(
    vocab_size=1000,
    layers=1,
    hidden_size=8,
    heads=2,
    batch=200,
    length=64,
    predictions=8,
)


@pytest.fixture(scope="module")
def batch():
    return make_batches(WORK, count=1, seed=5)[0]


def test_batches_repeat_for_a_seed(batch):
    again, other = make_batches(WORK, count=2, seed=5)
    for name, values in batch.items():
        np.testing.assert_array_equal(values, again[name])
    assert np.any(batch["token_ids"] != other["token_ids"])


def test_most_rows_are_full_and_padding_is_at_the_end(batch):
    lengths = batch["padding_mask"].sum(1)
    assert 0.8 < np.mean(lengths == WORK.length) < 1
    order = np.arange(WORK.length) < lengths[:, None]
    np.testing.assert_array_equal(batch["padding_mask"], order)
    assert np.all((batch["token_ids"] == 0) == ~order)
    assert np.all(batch["segment_ids"][~order] == 0)


def test_a_row_is_a_pair_between_its_separators(batch):
    for row in range(WORK.batch):
        length = batch["padding_mask"][row].sum()
        tokens = batch["token_ids"][row, :length]
        first, last = np.flatnonzero(tokens == 3)
        assert tokens[0] == 2 and last == length - 1
        segments = batch["segment_ids"][row, :length]
        np.testing.assert_array_equal(segments, np.arange(length) > first)


def test_predictions_are_ordinary_tokens_and_mostly_masked(batch):
    real = batch["mask_weights"] == 1
    assert real.sum(1).max() == WORK.predictions
    positions, labels = batch["mask_positions"], batch["mask_ids"]
    shown = np.take_along_axis(batch["token_ids"], positions, axis=1)
    assert np.all(labels[real] >= 5) and np.all(shown[real] >= 4)
    assert 0.75 < np.mean(shown[real] == 4) < 0.85
    assert 0.07 < np.mean((shown == labels)[real]) < 0.14
    masked = np.sum(batch["token_ids"] == 4)
    assert masked == np.sum(shown[real] == 4)
    assert not np.any(positions[~real]) and not np.any(labels[~real])


def test_ratios_are_to_the_fastest_peer():
    rounds = {
        "kbert": [[8.0, 9.0, 8.0], [10.0]],
        "keras_hub": [[16.0], [10.0]],
        "hugging_face": [[32.0], [40.0]],
    }
    about = {name: {"parameters": 1} for name in rounds}
    results = pretrain_step.summarize(rounds, about)
    assert {r["fastest_peer"] for r in results.values()} == {"keras_hub"}
    assert results["kbert"]["median_ms"] == 8.5
    assert math.isclose(results["kbert"]["speed"], 13 / 8.5)
    assert results["kbert"]["speed_each_round"] == [2.0, 1.0]
    assert results["hugging_face"]["speed_each_round"] == [0.5, 0.25]


def test_products_are_all_that_a_step_needs(monkeypatch):
    work = dataclasses.replace(
        WORK, layers=3, hidden_size=64, length=32, batch=4
    )
    trace = tf.function
    monkeypatch.setattr(tf, "function", lambda step: step)
    steps = products.make_steps(work, [], dtype="float32", xla=False)
    graph = trace(lambda: steps.run(0)).get_concrete_function().graph
    found = 0
    for op in graph.get_operations():
        if op.type in ("MatMul", "BatchMatMulV2"):
            name = "transpose_a" if op.type == "MatMul" else "adj_x"
            inner = op.inputs[0].shape[-2 if op.get_attr(name) else -1]
            found += 2 * inner * math.prod(op.outputs[0].shape)
    done = throughput.Work(
        rows=work.batch,
        tokens=work.batch * work.length,
        squares=work.batch * work.length**2,
        predictions=work.batch * work.predictions,
        reads=work.batch * work.length * (work.predictions + 1),
    )
    config = BertConfig(
        vocab_size=work.vocab_size,
        hidden_size=work.hidden_size,
        num_hidden_layers=work.layers,
        num_attention_heads=work.heads,
        intermediate_size=4 * work.hidden_size,
        lower_case=True,
    )
    assert found == throughput.flops(done, config)
