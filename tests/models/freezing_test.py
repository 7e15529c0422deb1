# SPDX-License-Identifier: Apache-2.0
"""The lower part of a model stays as it is, the rest learns as before."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert import models
from kbert.tasks.classification import head as classification_head
from kbert.training import loop
from kbert.training.config import TrainConfig
from kbert.training.fused_adamw import FusedAdamW

LABELS = {"logits": np.array([1, 0, 1], "int32")}
RATE, CLIP = 1e-2, 0.1


@pytest.fixture
def build(tiny_config):
    """The same classifier each time, of one block, without dropout."""
    config = dataclasses.replace(
        tiny_config,
        num_hidden_layers=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )

    def build():
        keras.utils.set_random_seed(3)
        return classification_head.build_classifier(config, 2)

    return build


@pytest.fixture
def inputs(batch):
    return {name: x for name, x in batch.items() if name != "mask_positions"}


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_what_is_below_is_frozen(tiny_config, blocks):
    model = models.build_encoder(tiny_config)
    frozen = {"token_embedding", "embeddings", "block_0", "block_1"}
    frozen -= {f"block_{index}" for index in range(blocks, 2)}
    models.freeze(model, blocks)
    for layer in model.layers:
        assert layer.trainable == (layer.name not in frozen)
        if layer.weights:
            assert bool(layer.trainable_variables) == layer.trainable
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=f"blocks is {wrong}; needs 0 to"):
            models.freeze(model, wrong)


def _zeroed_step(model, optimizer, inputs):
    """One clipped step by hand; embeddings have gradients of zero."""
    (loss,) = classification_head.losses().values()
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        logits = model(inputs, training=True)["logits"]
        value = tf.reduce_mean(loss.call(LABELS["logits"], logits))
    gradients = tape.gradient(value, [v.value for v in variables])
    gradients = [
        tf.zeros_like(v) if "embedding" in v.path else tf.convert_to_tensor(g)
        for v, g in zip(variables, gradients, strict=True)
    ]
    gradients, norm = tf.clip_by_global_norm(gradients, CLIP)
    assert norm > CLIP
    optimizer.apply(gradients, variables)


@pytest.mark.slow
def test_the_step_is_that_of_gradients_of_zero(build, inputs, tmp_path):
    """Rates by depth too; a stopped run resumes; frozen weights keep all."""
    made = []

    def fit(folder, steps):
        made.append(build())
        models.freeze(made[-1], 0)
        trainer = loop.Trainer(
            made[-1],
            losses=classification_head.losses(),
            metrics=classification_head.metrics(),
            optimizer=FusedAdamW(RATE, layer_decay=0.5),
            clip_norm=CLIP,
        )
        many = tf.data.Dataset.from_tensors((inputs, LABELS)).repeat()
        config = TrainConfig(output_dir=str(tmp_path / folder))
        result = loop.fit(trainer, lambda _: many, steps=steps, config=config)
        assert result.step == steps
        return trainer

    trainer = fit("cut", 1)
    slots = len(trainer.model.trainable_variables)
    assert len(trainer.optimizer.variables) == 2 * slots + 2  # count and rate
    by_hand = build()
    optimizer = FusedAdamW(RATE, layer_decay=0.5)
    optimizer.build(by_hand.trainable_variables)
    _zeroed_step(by_hand, optimizer, inputs)
    for ours, theirs, first in zip(
        made[0].weights, by_hand.weights, build().weights, strict=True
    ):
        before, after = first.numpy(), ours.numpy()
        if "embedding" in ours.path:
            np.testing.assert_array_equal(after, before, ours.path)
        elif before.dtype == np.float32:
            assert (after != before).any(), ours.path
            if before.shape != (48,):  # the keys' true gradient is 0
                np.testing.assert_allclose(after, theirs, atol=2e-5)
    fit("cut", 3)
    fit("whole", 3)
    for ours, theirs in zip(made[1].weights, made[2].weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
