# SPDX-License-Identifier: Apache-2.0
"""Gradients in parts, and of losses that compare the rows of a batch."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.runs import devices
from kbert.tasks.embedding.head import EmbeddingLoss, build_embedder
from kbert.tasks.embedding.settings import Settings
from kbert.training import loop, replicas
from kbert.training.optimizer import AdamW

ROWS, TEXTS, TOKENS = 8, 3, 10


@pytest.fixture
def make(tiny_config):
    """Makes a model of vectors; always with the same weights."""

    def make(dropout=0.0):
        keras.utils.set_random_seed(4)
        config = dataclasses.replace(
            tiny_config,
            num_hidden_layers=1,
            initializer_range=0.3,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        return build_embedder(config, Settings())

    return make


@pytest.fixture
def batch():
    """Rows of three texts of unequal lengths."""
    draw = np.random.default_rng(3)
    count = ROWS * TEXTS
    lengths = draw.integers(3, TOKENS + 1, count)[:, None]
    mask = (np.arange(TOKENS) < lengths).astype("int32")
    inputs = {
        "token_ids": draw.integers(5, 15, (count, TOKENS), "int32") * mask,
        "segment_ids": np.zeros_like(mask),
        "padding_mask": mask,
    }
    return inputs, {"embedding": draw.normal(size=ROWS).astype("float32")}


def _gradients(model, batch, parts, kind="ranking"):
    """The loss and all gradients, from one trace of the step's code."""
    losses = {"embedding": EmbeddingLoss(kind)}
    trainer = loop.Trainer(
        model,
        losses=losses,
        metrics={"embedding": []},
        optimizer=AdamW(0.0),
        accumulate_steps=parts,
    )
    batch = tf.nest.map_structure(tf.constant, batch)
    loss, *gradients = tf.function(trainer._mean_gradients)(batch)
    return loss.numpy(), [gradient.numpy() for gradient in gradients]


def _plain(model, outputs, labels):
    """A loss of outputs, and its gradients, without any parts."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(EmbeddingLoss("ranking").call(labels, outputs()))
    variables = [v.value for v in model.trainable_variables]
    gradients = tape.gradient(loss, variables)
    return loss.numpy(), [tf.convert_to_tensor(x).numpy() for x in gradients]


def _assert_equal(got, want):
    assert got[0] == pytest.approx(want[0], rel=1e-5)
    largest = max(np.abs(x).max() for x in want[1])
    for one, other in zip(got[1], want[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * largest)


@pytest.mark.parametrize("parts", [1, 2, 8])
def test_parts_give_the_gradients_of_the_whole_batch(parts, make, batch):
    model = make()
    inputs, labels = batch
    want = _plain(
        model,
        lambda: model(inputs, training=True)["embedding"],
        labels["embedding"],
    )
    _assert_equal(_gradients(model, batch, parts), want)


def test_rows_of_different_parts_are_compared(make, batch):
    """In two halves by themselves the loss is another one."""
    whole, _ = _gradients(make(), batch, 2)
    halves = [
        _gradients(make(), tf.nest.map_structure(half, batch), 1)[0]
        for half in (lambda x: x[: len(x) // 2], lambda x: x[len(x) // 2 :])
    ]
    assert abs(np.mean(halves) - whole) > 0.1


def test_the_second_pass_has_the_dropout_of_the_first(make, batch):
    """Against one tape around both parts, which draw the same masks."""
    model = make(dropout=0.4)
    replicas.vary_dropout(model)
    inputs, labels = batch
    seeds = [seed.value for seed in replicas.dropout_seeds(model)]
    assert seeds
    before = [seed.numpy() for seed in seeds]

    def outputs():
        half = ROWS * TEXTS // 2
        parts = [
            model({k: v[rows] for k, v in inputs.items()}, training=True)
            for rows in (slice(half), slice(half, None))
        ]
        return tf.concat([part["embedding"] for part in parts], 0)

    want = _plain(model, outputs, labels["embedding"])
    for seed, value in zip(seeds, before, strict=True):
        seed.assign(value)
    _assert_equal(_gradients(model, batch, 2), want)
    for seed, value in zip(seeds, before, strict=True):
        assert (seed.numpy() != value).any()  # the next step has other masks


@pytest.mark.parametrize("parts", [1, 2])
def test_replicas_compare_the_rows_of_all(parts, make, batch):
    model = make()
    want = _gradients(model, batch, 1)
    strategy = devices.strategy("mirrored", 0)
    inputs, labels = batch

    with strategy.scope():
        model = make()
        trainer = loop.Trainer(
            model,
            losses={"embedding": EmbeddingLoss("ranking")},
            metrics={"embedding": []},
            optimizer=AdamW(0.0),
            accumulate_steps=parts,
        )

    def share(context):
        index = context.replica_id_in_sync_group

        def half(rows):
            size = len(rows) // 2
            return tf.constant(rows[index * size : (index + 1) * size])

        return tf.nest.map_structure(half, (inputs, labels))

    values = strategy.experimental_distribute_values_from_function(share)

    @tf.function
    def run(values):
        return strategy.run(
            lambda batch: trainer._reduce(trainer._mean_gradients(batch)),
            args=(values,),
        )

    loss, *gradients = [
        strategy.experimental_local_results(x)[1].numpy() for x in run(values)
    ]
    _assert_equal((loss, gradients), want)


def test_a_loss_of_single_rows_is_summed_over_the_parts(make, batch):
    want = _gradients(make(), batch, 1, "triplet")
    _assert_equal(_gradients(make(), batch, 4, "triplet"), want)
