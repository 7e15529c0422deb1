# SPDX-License-Identifier: Apache-2.0
"""kbert's fine-tuning, with the functions that `kbert-finetune` calls.

Epoch times include the input: batches are made while the model trains. The
first epoch also includes tracing the step.
"""

import dataclasses
import importlib.metadata
import time
from collections.abc import Callable

import keras

from benchmarks import finetune_sides
from benchmarks.finetune_sides import Result, Run
from kbert import tasks
from kbert.checkpoints import huggingface
from kbert.checkpoints.folder import LoadedModel
from kbert.data import batching
from kbert.runs import finetuning as finetuning_run
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.rows import DataOptions, Rows
from kbert.training import loop
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import WarmupDecay


def finetune(run: Run) -> Result:
    """Trains on kbert's own batches; its own predictor answers."""
    task, train = read(run, huggingface.load(run.model))
    examples = task.examples(train)
    build(task, run.seed)
    epoch_steps = batching.steps_per_epoch(examples, run.batch_size)
    model, write_back = training_model(task, examples)
    trainer = make_trainer(model, task, run, run.epochs * epoch_steps)
    dataset = batching.dataset(
        examples, batch_size=run.batch_size, seed=run.seed
    )
    batches = iter(dataset)
    seconds = []
    for _ in range(run.epochs):
        start = time.perf_counter()
        trainer.train_step.get_concrete_function(dataset.element_spec)
        for _ in range(epoch_steps):
            trainer.train_step(next(batches))
        seconds.append(time.perf_counter() - start)
    write_back()
    return Result(
        answers=task.predictor.predict(*dev_rows(run, task).texts),
        epoch_seconds=seconds,
        versions={
            name: importlib.metadata.version(name)
            for name in ("tensorflow", "keras")
        },
    )


def read(run: Run, encoder: LoadedModel) -> tuple[LabelledTask, Rows]:
    """A task of a run's data, whose model is the encoder, and its rows."""
    made = tasks.task_class(run.data.task)
    options = DataOptions(**run.data.options)
    rows = made.read(run.data.train, options)
    spec = made.new_spec(rows, options)
    return made(dataclasses.replace(encoder, spec=spec)), rows


def dev_rows(run: Run, task: LabelledTask) -> Rows:
    """The rows to score a task on."""
    options = DataOptions(**run.data.options)
    return task.read(run.data.dev, options, task.spec)


def build(task: LabelledTask, seed: int) -> None:
    """Gives the task a model with its encoder's weights and a new head."""
    keras.utils.set_random_seed(seed)
    task.build(task.config)


def training_model(
    task: LabelledTask, examples: batching.Examples
) -> tuple[keras.Model, Callable[[], None]]:
    """The model that kbert-finetune trains on the examples."""
    used_ids = batching.used_token_ids(examples, task.vocabulary)
    return finetuning_run.training_model(task.keras_model, used_ids, xla=False)


def make_trainer(
    model: keras.Model, task: LabelledTask, run: Run, steps: int
) -> loop.Trainer:
    """What trains a model for so many steps."""
    schedule = WarmupDecay(
        run.learning_rate, int(finetune_sides.WARM_UP * steps), steps
    )
    return loop.Trainer(
        model,
        losses=task.losses(),
        metrics=task.metrics(),
        optimizer=FusedAdamW(
            schedule,
            weight_decay=finetune_sides.WEIGHT_DECAY,
            epsilon=finetune_sides.EPSILON,
        ),
        clip_norm=finetune_sides.CLIP_NORM,
    )
