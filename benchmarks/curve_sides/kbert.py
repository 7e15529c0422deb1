# SPDX-License-Identifier: Apache-2.0
"""kbert's pre-training, with the functions that `kbert-pretrain` calls."""

import time
from collections.abc import Iterator

import keras

from benchmarks import curve_sides
from benchmarks.curve_sides import Point, Task
from kbert.checkpoints import folder
from kbert.data import record_batches, record_sets
from kbert.training import loop, losses
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import WarmupDecay


def train(task: Task) -> Iterator[Point]:
    """Trains, and scores the validation rows now and then."""
    keras.config.set_dtype_policy(task.dtype)
    model = folder.load(task.start).model
    trainer = loop.Trainer(
        model,
        losses=losses.pretraining_losses(),
        metrics=losses.pretraining_metrics(),
        optimizer=FusedAdamW(
            WarmupDecay(task.learning_rate, task.warm_up_steps, task.steps),
            weight_decay=curve_sides.WEIGHT_DECAY,
        ),
        clip_norm=curve_sides.CLIP_NORM,
    )
    batches = iter(
        record_batches.dataset(
            record_sets.find(task.records),
            batch_size=task.batch_size,
            seed=task.seed,
        )
    )
    seconds = 0.0
    yield _point(task, model, 0, seconds)
    for step in range(1, task.steps + 1):
        start = time.perf_counter()
        trainer.train_step(next(batches))
        seconds += time.perf_counter() - start
        if step % task.score_every == 0 or step == task.steps:
            yield _point(task, model, step, seconds)


def _point(task, model, step, seconds):
    scores = loop.evaluate(
        model,
        record_batches.dataset(
            record_sets.find(task.validation),
            batch_size=task.batch_size,
            seed=None,
        ),
        losses=losses.pretraining_losses(),
        metrics=losses.pretraining_metrics(),
    )
    return Point(step=step, seconds=seconds, **scores)
