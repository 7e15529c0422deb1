# SPDX-License-Identifier: Apache-2.0
"""Two replicas compute what one device does, in the loop and in `fit`.

The rows differ in their numbers of predictions, so that a mean of replicas'
means would show, and the gradients are longer than the clipping allows.
"""

import contextlib
import dataclasses
import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert import models
from kbert.runs import devices
from kbert.training import loop, losses, replicas
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import AdamW, WarmupDecay

STEPS = 50
ROWS, TOKENS, PREDICTIONS = 8, 12, 3


def _strategy(count):
    if count == 1:
        return tf.distribute.get_strategy()
    return devices.strategy("mirrored", 0)


@pytest.fixture
def config(tiny_config):
    return dataclasses.replace(
        tiny_config,
        num_hidden_layers=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def _batch(number):
    """Row i has 1 + i mod 3 predictions: the replicas have 7 and 8 of them."""
    draw = np.random.default_rng(number)
    lengths = draw.integers(6, TOKENS + 1, ROWS)[:, None]
    positions = np.arange(TOKENS)
    mask = (positions < lengths).astype("int32")
    weights = np.arange(PREDICTIONS) <= np.arange(ROWS)[:, None] % PREDICTIONS
    weights = weights.astype("float32")
    inputs = {
        "token_ids": draw.integers(5, 15, (ROWS, TOKENS), "int32") * mask,
        "segment_ids": (positions >= lengths // 2).astype("int32") * mask,
        "padding_mask": mask,
        "mask_positions": draw.integers(1, 6, (ROWS, PREDICTIONS), "int32"),
    }
    labels = {
        "mlm_logits": draw.integers(5, 15, (ROWS, PREDICTIONS), "int32"),
        "nsp_logits": draw.integers(0, 2, ROWS, "int32"),
    }
    return (
        inputs,
        labels,
        {
            "mlm_logits": weights * np.float32(weights.size / weights.sum()),
            "nsp_logits": np.ones(ROWS, "float32"),
        },
    )


@pytest.fixture(scope="module")
def batches():
    several = [_batch(number) for number in range(10)]
    stacked = tf.nest.map_structure(lambda *x: np.stack(x), *several)
    return tf.data.Dataset.from_tensor_slices(stacked).repeat()


def _in_the_loop(config, batches, count, *, parts=1, scaled=False, steps=STEPS):
    """The losses of each step, and the variables after the last."""
    curve = []
    with _strategy(count).scope():
        keras.utils.set_random_seed(4)
        optimizer = FusedAdamW(WarmupDecay(2e-3, 5, STEPS))
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        trainer = loop.Trainer(
            models.build_pretrainer(config),
            losses=losses.pretraining_losses(),
            metrics=losses.pretraining_metrics(),
            optimizer=optimizer,
            clip_norm=0.5,
            accumulate_steps=parts,
        )
        for batch in itertools.islice(replicas.parts_of(batches), steps):
            trainer.train_step(batch)
            scores = trainer.means.take()
            curve.append((scores["mlm_loss"], scores["nsp_loss"]))
        work = trainer.take_work()
    return np.array(curve), trainer.model, work


def _in_fit(config, batches, count, *, steps=STEPS, **settings):
    with _strategy(count).scope():
        keras.utils.set_random_seed(4)
        model = models.build_pretrainer(config)
        replicas.vary_dropout(model)
        model.compile(
            optimizer=AdamW(
                WarmupDecay(2e-3, 5, STEPS), global_clipnorm=0.5, **settings
            ),
            loss=losses.pretraining_losses(),
        )
    history = model.fit(
        batches, steps_per_epoch=1, epochs=steps, verbose=0
    ).history
    return np.array(history["loss"])[:, None], model, None


def _assert_equal(got, want, atol=1e-5):
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    for ours, theirs in zip(
        got[1].trainable_variables, want[1].trainable_variables, strict=True
    ):
        a, b = ours.numpy(), theirs.numpy()
        if "qkv_bias" in ours.path:  # the keys' have no gradient but noise
            a, b = (np.delete(x.reshape(3, -1), 1, axis=0) for x in (a, b))
        error = np.abs(a - b).max() / np.abs(b).max()
        assert error <= atol, f"{ours.path} is off by {error:.1e}"


def test_two_replicas_are_one_device(config, batches):
    one = _in_the_loop(config, batches, 1)
    two = _in_the_loop(config, batches, 2, parts=2)
    _assert_equal(two, one)
    assert two[2] == one[2]  # the work counted
    curve, model, _ = _in_fit(config, batches, 2)
    # Another kernel than the loop's rounds on its own; see the slow test.
    one_sum = one[0].sum(1, keepdims=True)
    _assert_equal((curve, model), (one_sum, one[1]), atol=3e-5)
    with _float16():
        curve, *_ = _in_the_loop(config, batches, 2, parts=2, scaled=True)
    assert (curve != one[0]).any()
    np.testing.assert_allclose(curve, one[0], rtol=0.01)


@contextlib.contextmanager
def _float16():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"gradient_accumulation_steps": 2}, {"use_ema": True}]
)
def test_two_replicas_are_one_device_in_fit(config, batches, settings):
    one, two = (_in_fit(config, batches, n, **settings) for n in (1, 2))
    _assert_equal(two, one)


def test_replicas_draw_different_masks():
    inputs = keras.Input((64,))
    with _strategy(2).scope() as strategy:
        for vary in (False, True):
            dropout = keras.layers.Dropout(0.5, seed=3)
            model = keras.Model(inputs, dropout(inputs))
            if vary:
                replicas.vary_dropout(model)
            draw = functools.partial(model, tf.ones((1, 64)), training=True)
            one, two = strategy.run(tf.function(draw)).values
            three, four = strategy.run(tf.function(draw)).values
            assert (one.numpy() == two.numpy()).all() != vary
            assert (one.numpy() != three.numpy()).any()
            assert (two.numpy() != four.numpy()).any()
