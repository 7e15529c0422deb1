# SPDX-License-Identifier: Apache-2.0
"""Training with a part of the token table against training with all of it."""

import dataclasses

import keras
import numpy as np
import pytest

from kbert import models, tasks
from kbert.tasks import TaskSpec
from kbert.training import loop
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import AdamW, WarmupDecay

USED = np.array([0, 2, 5, 6, 7, 11], "int32")
STEPS = 6


def _model(config):
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    keras.utils.set_random_seed(3)
    return tasks.build(
        dataclasses.replace(config, initializer_range=0.3, **still),
        TaskSpec(task="regression", max_seq_length=8),
    )


def _trained(model, optimizer, write_back=lambda: None):
    """Takes steps on texts of other tokens each; the last one without."""
    trainer = loop.Trainer(
        model,
        losses={"value": keras.losses.MeanSquaredError()},
        metrics={"value": []},
        optimizer=optimizer,
        on_final_weights=write_back,
    )
    rng = np.random.default_rng(4)
    for step in range(STEPS):
        some = USED[1:4] if step % 2 else USED[2:]
        ids = rng.choice(some, size=(4, 8)).astype("int32")
        mask = (np.arange(8) < [[8], [5], [3], [6]]).astype("int32")
        inputs = {
            "token_ids": ids * mask,
            "segment_ids": 0 * ids,
            "padding_mask": mask,
        }
        labels = {"value": rng.normal(size=4).astype("float32")}
        trainer.train_step((inputs, labels))
    return trainer


@pytest.mark.parametrize(
    "kind", [pytest.param(AdamW, marks=pytest.mark.slow), FusedAdamW]
)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"layer_decay": 0.5}, marks=pytest.mark.slow),
        pytest.param(
            {"use_ema": True, "ema_momentum": 0.6}, marks=pytest.mark.slow
        ),
    ],
    ids=["plain", "layer decay", "averages"],
)
def test_all_weights_are_those_of_the_whole_table(settings, kind, tiny_config):
    def optimizer():
        rate = WarmupDecay(0.05, 2, STEPS, "cosine")
        return kind(rate, weight_decay=0.3, **settings)

    want = _model(tiny_config)
    before = want.get_layer("token_embedding").embeddings.numpy()
    _trained(want, optimizer()).finish()
    got = _model(tiny_config)
    reduced, write_back = models.with_reduced_vocabulary(got, USED)
    rows = reduced.get_layer("token_embedding").embeddings.shape
    assert rows == (len(USED) + 1, before.shape[1])
    trainer = _trained(reduced, optimizer(), write_back)
    with trainer.final_weights():
        scored = got.get_layer("token_embedding").embeddings.numpy()
    trainer.finish()
    for theirs, mine in zip(want.variables, got.variables, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-6, err_msg=mine.path)
    after = got.get_layer("token_embedding").embeddings.numpy()
    np.testing.assert_array_equal(scored, after)
    moved = np.abs(after - before).max(axis=1)
    assert moved[USED[1:]].min() > 0.01  # those learn
    unseen = np.setdiff1d(np.arange(len(before)), USED)
    ratio = after[unseen] / before[unseen]
    assert ratio.max() < 0.995  # those decay
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)


def test_another_token_is_no_row_of_it(tiny_config):
    reduced, _ = models.with_reduced_vocabulary(_model(tiny_config), USED)
    ids = np.array([[2, 3]], "int32")
    batch = {"segment_ids": 0 * ids, "padding_mask": 1 + 0 * ids}
    with pytest.raises(Exception, match="= 7 is not in"):
        reduced({"token_ids": ids, **batch})
