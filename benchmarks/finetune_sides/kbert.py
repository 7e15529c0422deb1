# SPDX-License-Identifier: Apache-2.0
"""kbert's fine-tuning, made of what `kbert-finetune` calls.

Epochs are timed with their input: batches are made while the model trains.
The first epoch also holds the tracing of the step.
"""

import importlib.metadata
import time

import keras

from benchmarks import finetune_sides
from benchmarks.finetune_sides import BATCH_SIZE, Result, Task
from benchmarks.finetune_sides.kbert_data import read_examples
from kbert import tasks
from kbert.checkpoints import folder, huggingface
from kbert.data import finetuning
from kbert.tasks import classification
from kbert.training import loop
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import WarmupDecay


def finetune(task: Task) -> Result:
    """Trains and scores on kbert's own batches."""
    encoder = huggingface.load(task.model)
    train = read_examples(task.train, encoder.vocabulary)
    dev = read_examples(task.dev, encoder.vocabulary)
    spec = tasks.TaskSpec(
        task="classification",
        max_seq_length=finetune_sides.MAX_LENGTH,
        labels=finetune_sides.LABELS,
    )
    keras.utils.set_random_seed(task.seed)
    model = tasks.build(encoder.config, spec)
    folder.copy_weights(encoder.model, model)
    epoch_steps = finetuning.steps_per_epoch(train, BATCH_SIZE)
    trainer = loop.Trainer(
        model,
        losses=classification.losses(),
        metrics=classification.metrics(),
        optimizer=_optimizer(task.epochs * epoch_steps),
        clip_norm=finetune_sides.CLIP_NORM,
    )
    dataset = finetuning.dataset(train, batch_size=BATCH_SIZE, seed=task.seed)
    batches = iter(dataset)
    seconds = []
    for _ in range(task.epochs):
        start = time.perf_counter()
        trainer.train_step.get_concrete_function(dataset.element_spec)
        for _ in range(epoch_steps):
            trainer.train_step(next(batches))
        seconds.append(time.perf_counter() - start)
    scores = loop.evaluate(
        model,
        finetuning.dataset(dev, batch_size=BATCH_SIZE, seed=None),
        losses=classification.losses(),
        metrics=classification.metrics(),
    )
    return Result(
        accuracy=scores["accuracy"],
        epoch_seconds=seconds,
        train_rows=len(train),
        dev_rows=len(dev),
        versions={
            name: importlib.metadata.version(name)
            for name in ("tensorflow", "keras")
        },
    )


def _optimizer(steps: int) -> FusedAdamW:
    schedule = WarmupDecay(
        finetune_sides.LEARNING_RATE,
        int(finetune_sides.WARM_UP * steps),
        steps,
    )
    return FusedAdamW(
        schedule,
        weight_decay=finetune_sides.WEIGHT_DECAY,
        epsilon=finetune_sides.EPSILON,
    )
