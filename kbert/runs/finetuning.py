# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning runs: from a model and a task's rows to a model folder."""

import dataclasses
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from kbert import models, tasks
from kbert.checkpoints import formats
from kbert.data import batching
from kbert.runs import (
    devices,
    run,
    run_files,
    run_record,
    scoring,
    trained_model,
)
from kbert.runs.console import describe
from kbert.runs.run_record import Command
from kbert.runs.scoring import TaskScores
from kbert.tasks import TaskSpec
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.rows import DataOptions, Rows
from kbert.training.config import FinetuneConfig

# Of a batch in attention: its rows are of like length.
_TRAINING_PARTS = 2
REPORT_FOLDER = "report"  # in output_dir, of the last weights on dev


def finetune(
    spec: TaskSpec,
    *,
    init: str,
    lower_case: bool | None,
    train: Rows,
    dev: Rows | None,
    data: DataOptions,
    config: FinetuneConfig,
    command: Command,
) -> None:
    """Trains a model for a task and writes <output_dir>/model.

    With dev, the model is scored at the end of each epoch and the best step's
    weights are saved. Its scores, those of the best and of the last step, and
    the metric that they are compared by are written to evaluation.json, and
    more to <output_dir>/report. Settings that a task tunes, such as a
    threshold, are tuned on dev.

    Args:
        spec: of the model, as its class makes it from the training rows.
        init: path of the initial model, of any format.
        lower_case: its casing, if no file says it.
        train: rows with labels.
        dev: validation rows, or None.
        data: how the rows were read.
        config: how to train.
        command: for the run's record.
    Raises: ValueError, naming the file or the flag; OSError.
    """
    _check_dev(dev, config)
    strategy = run.strategy(config)
    initial = formats.load(init, lower_case=lower_case, seed=config.seed)
    _check_model(initial.config, spec, config)
    task = _task(initial, spec, data)
    del initial
    examples = scoring.tokenized(task, train, data)
    config = run.limit_batch(config, strategy, train.path, len(examples))
    epoch = batching.steps_per_epoch(examples, config.batch_size)
    config = dataclasses.replace(
        config, eval_every=(config.eval_every or epoch) if dev else None
    )
    with run.opened(
        config, command, strategy, lambda: _inputs(init, train, dev)
    ) as record:
        with strategy.scope():
            _build(task, init, config)
            _freeze(task.keras_model, config.freeze_blocks)
        score = None
        if dev:
            score = TaskScores(
                task,
                dev,
                data,
                batch_size=config.batch_size,
                metric=config.metric,
            )
            if config.metric and record:
                score.check_metric()  # now, not after hours
        with strategy.scope():
            steps = config.epochs * epoch
            trainer = _trainer(task, examples, steps, config)
            result = run.train(
                trainer,
                lambda step: batching.dataset(
                    examples,
                    batch_size=config.batch_size,
                    seed=config.seed,
                    first_step=step,
                ),
                steps=steps,
                model_config=task.config,
                scorer=score,
                config=config,
                record=record,
            )
        if not record:
            return
        chosen = trained_model.choose_step(trainer, result, config)
        if score:
            task = _score(score, chosen, dev, config)
        trained_model.save(task.loaded, config, chosen)


def training_model(
    model: keras.Model, used_ids: np.ndarray | None, xla: bool
) -> tuple[keras.Model, Callable[[], None]]:
    """The model that a training step computes: the same with less work.

    On a processor it leaves out the work for padding. The shapes of such a
    graph depend on the tokens: XLA cannot compile it, and it is untried on
    GPUs. Train it with AdamW, from the weights that `model` has now.

    Args:
        model: of a task.
        used_ids: the ids of all tokens of the training data, in order, for a
            token table of these alone; None for the whole table.
        xla: whether XLA is to compile it.
    Returns: a model that shares the layers of `model`, but for a smaller token
        table; and a function that writes that table back to `model`.
    """

    def write_back():
        """Nothing: the table is shared."""

    if used_ids is not None:
        model, write_back = models.with_reduced_vocabulary(model, used_ids)
    if xla or devices.has_gpu():
        return model, write_back
    return models.without_padding(model, _TRAINING_PARTS), write_back


def _inputs(init, train, dev):
    inputs = {
        "init": run_record.named_model(init),
        "train": run_files.named_file(train.path),
    }
    if dev:
        inputs["dev"] = run_files.named_file(dev.path)
    return inputs


def _check_dev(dev, config):
    """Raises: ValueError, naming the flag that needs dev."""
    run.check_scores(config, "--dev", dev, by_epoch=True)
    if config.metric and not dev:
        raise ValueError(f"--metric={config.metric}: needs --dev too.")


def _check_model(model_config, spec, config):
    """Raises: ValueError, naming a flag that the model is too small for."""
    limit = model_config.max_position_embeddings
    if spec.max_seq_length > limit:
        raise ValueError(
            f"--max_seq_length={spec.max_seq_length}: the model takes at most "
            f"{limit} (max_position_embeddings)."
        )
    blocks, limit = config.freeze_blocks, model_config.num_hidden_layers
    if blocks is None:
        return
    if blocks > limit:
        raise ValueError(
            f"--freeze_blocks={blocks}: needs at most {limit}, the model's "
            "blocks."
        )
    if blocks == limit and config.layer_decay != 1:
        raise ValueError(
            f"--layer_decay={config.layer_decay}: with "
            f"--freeze_blocks={blocks} no block is left to train."
        )


def _task(initial, spec, data) -> LabelledTask:
    """The task, whose model is still the initial one."""
    task = tasks.task_class(spec.task)
    spec = task.spec_from(spec, initial.spec, data)
    return task(dataclasses.replace(initial, spec=spec))


def _build(task, init, config):
    """Builds the task's model, with the weights that the initial one has."""
    fresh, _ = task.build(task.config.with_dropout(config.dropout))
    if note := tasks.segment_note(task.config, task.spec):
        print(f"{init}: {note}")
    if not run.is_resumed(config):
        run.print_initialized(init, fresh)


def _trainer(task, examples, steps, config):
    model, write_back = training_model(
        task.keras_model,
        _used_ids(examples, task.vocabulary, config),
        config.xla,
    )
    return run.make_trainer(
        model,
        losses=task.losses(),
        metrics=task.metrics(),
        steps=steps,
        config=config,
        on_final_weights=write_back,
    )


def _used_ids(examples, vocabulary, config):
    """The ids for `training_model`; None to keep the whole token table."""
    if config.freeze_blocks is not None:
        return None  # the table is not trained
    if config.optimizer == "lamb":
        return None  # its step depends on the norm of the whole table
    return batching.used_token_ids(examples, vocabulary)


def _freeze(model, blocks):
    if blocks is not None:
        models.freeze(model, blocks)
        frozen = model.count_params() - sum(
            v.value.shape.num_elements() for v in model.trainable_variables
        )
        print(f"--freeze_blocks={blocks}: {frozen:,} weights stay as they are")


def _score(score, chosen, dev, config) -> LabelledTask:
    """Scores the chosen weights on dev and writes the report.

    Returns: the task, with what is tuned on dev.
    """
    if chosen.is_restored:
        score.forget()
    score.tune()
    scores = score.scores()
    print(f"{dev.path}: {describe(scores)}", flush=True)
    trained_model.write_evaluation(
        config,
        {
            **scores,
            **chosen.fields,
            "metric": score.metric,
            "input": pathlib.Path(dev.path).name,
        },
    )
    report = pathlib.Path(config.output_dir) / REPORT_FOLDER
    score.report(scores, report, config.worst)
    return score.task
