# SPDX-License-Identifier: Apache-2.0
"""kbert's fine-tuning, made of what `kbert-finetune` calls.

Epochs are timed with their input: batches are made while the model trains.
The first epoch also holds the tracing of the step.
"""

import importlib.metadata
import time

import keras

from benchmarks import finetune_sides
from benchmarks.finetune_sides import Result, Run
from kbert import tasks
from kbert.checkpoints import folder, huggingface
from kbert.checkpoints.folder import LoadedModel
from kbert.data import finetuning
from kbert.runs import finetuning as finetuning_run
from kbert.tasks.job import Job, JobOptions
from kbert.tasks.predictor import make_predictor
from kbert.training import loop
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import WarmupDecay


def finetune(run: Run) -> Result:
    """Trains on kbert's own batches; its own server answers."""
    encoder = huggingface.load(run.model)
    job = make_job(run)
    train = job.read(run.data.train)
    spec = job.spec(train)
    examples = job.examples(train, spec, encoder.vocabulary)
    model = begin(encoder, spec, run.seed)
    epoch_steps = finetuning.steps_per_epoch(examples, run.batch_size)
    computed = compute(model, examples, encoder)
    trainer = make_trainer(
        computed.model, job, spec, run, run.epochs * epoch_steps
    )
    dataset = finetuning.dataset(
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
    computed.give_back()
    server = make_predictor(model, vocabulary=encoder.vocabulary, spec=spec)
    return Result(
        answers=server.predict(*job.read(run.data.dev, spec).texts),
        epoch_seconds=seconds,
        versions={
            name: importlib.metadata.version(name)
            for name in ("tensorflow", "keras")
        },
    )


def make_job(run: Run) -> Job:
    """The job of a run's data."""
    return tasks.job_class(run.data.task)(JobOptions(**run.data.options))


def begin(encoder: LoadedModel, spec: tasks.TaskSpec, seed: int) -> keras.Model:
    """A model of a task with an encoder's weights and a new head."""
    keras.utils.set_random_seed(seed)
    model = tasks.build(encoder.config, spec)
    folder.copy_weights(encoder.model, model)
    return model


def compute(
    model: keras.Model, examples: finetuning.Examples, encoder: LoadedModel
) -> finetuning_run.Computation:
    """What a step computes of a model that the examples train."""
    seen = finetuning.seen_tokens(examples, encoder.vocabulary)
    return finetuning_run.computed(model, seen, xla=False)


def make_trainer(
    model: keras.Model,
    job: Job,
    spec: tasks.TaskSpec,
    run: Run,
    steps: int,
) -> loop.Trainer:
    """What trains a model for so many steps."""
    schedule = WarmupDecay(
        run.learning_rate, int(finetune_sides.WARM_UP * steps), steps
    )
    return loop.Trainer(
        model,
        losses=job.losses(spec),
        metrics=job.metrics(spec),
        optimizer=FusedAdamW(
            schedule,
            weight_decay=finetune_sides.WEIGHT_DECAY,
            epsilon=finetune_sides.EPSILON,
        ),
        clip_norm=finetune_sides.CLIP_NORM,
    )
