# SPDX-License-Identifier: Apache-2.0
import keras
import pytest

from benchmarks import step_parts
from benchmarks.pretrain_batches import Work

WORK = Work(
    vocab_size=50,
    layers=2,
    hidden_size=8,
    heads=2,
    batch=4,
    length=16,
    predictions=3,
)


@pytest.mark.slow
def test_parts_take_the_same_steps(monkeypatch):
    monkeypatch.setattr("benchmarks.peers.DROPOUT", 0.0)
    monkeypatch.setattr("benchmarks.peers.LEARNING_RATE", 0.01)
    losses = []
    for part in step_parts.VARIANTS.values():
        keras.utils.set_random_seed(1)
        steps = step_parts.make(part, WORK)
        steps.loss(None)  # of the steps that warm it up
        losses.append(steps.loss(steps.run(0)))
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-5)
    assert len(set(losses)) > 1  # each computes it in another way
