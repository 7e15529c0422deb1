# SPDX-License-Identifier: Apache-2.0
"""The next-sentence output learns: 200 pairs by heart."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kbert import models
from kbert.training import loop, losses
from kbert.training.fused_adamw import FusedAdamW


def _pairs(count, vocab_size):
    """Rows [CLS] a [SEP] b [SEP] of random words, labels by a coin."""
    rng = np.random.default_rng(1)
    token_ids = rng.integers(5, vocab_size, (count, 12)).astype("int32")
    token_ids[:, 0] = 2
    token_ids[:, [5, 11]] = 3
    inputs = {
        "token_ids": token_ids,
        "segment_ids": np.tile(np.arange(12) > 5, (count, 1)).astype("int32"),
        "padding_mask": np.ones((count, 12), "int32"),
        "mask_positions": np.full((count, 1), 2, "int32"),
    }
    labels = {
        "mlm_logits": token_ids[:, 2:3],
        "nsp_logits": rng.integers(0, 2, count).astype("int32"),
    }
    weights = {
        "mlm_logits": np.ones((count, 1), "float32"),
        "nsp_logits": np.ones(count, "float32"),
    }
    return inputs, labels, weights


@pytest.mark.slow
def test_200_pairs_are_learnt_by_heart(tiny_config):
    config = dataclasses.replace(
        tiny_config,
        hidden_size=32,
        intermediate_size=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    trainer = loop.Trainer(
        models.build_pretrainer(config),
        losses=losses.pretraining_losses(),
        metrics=losses.pretraining_metrics(),
        optimizer=FusedAdamW(3e-3),
    )
    rows = tf.data.Dataset.from_tensor_slices(_pairs(200, config.vocab_size))
    batches = rows.shuffle(200, seed=1).batch(50).repeat(200)
    before = _accuracy(trainer.model, rows.batch(50))
    for batch in batches:
        trainer.train_step(batch)
    assert before < 0.65
    assert _accuracy(trainer.model, rows.batch(50)) >= 0.95


def _accuracy(model, batches):
    scores = loop.evaluate(
        model,
        batches,
        losses=losses.pretraining_losses(),
        metrics=losses.pretraining_metrics(),
    )
    return scores["nsp_accuracy"]
