# SPDX-License-Identifier: Apache-2.0
"""A fine-tuning run: a model and a task's rows, to a model's folder."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from kbert import models, tasks
from kbert.checkpoints import formats
from kbert.data import finetuning
from kbert.runs import devices, files, run, run_record, scoring
from kbert.runs.run import RunOptions
from kbert.runs.scoring import TaskScores
from kbert.tasks import TaskSpec
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.rows import DataOptions, Rows

# Of a batch in attention: its rows are of like length.
_TRAINING_PARTS = 2
REPORT_FOLDER = "report"  # in output_dir, of the last weights on dev


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """How a model is fine-tuned, beside what all runs have.

    Attributes:
        epochs: passes over the training rows.
        freeze_blocks: how many of the lowest blocks stay as they are, and
            the embeddings with them; None for nothing.
        metric: the score on dev that tells the best step, the higher the
            better, or "loss"; None for the task's own.
        worst: how many of dev's worst rows to write.
    """

    epochs: int
    freeze_blocks: int | None
    metric: str | None
    worst: int


def finetune(
    spec: TaskSpec,
    *,
    init: str,
    lower_case: bool | None,
    train: Rows,
    dev: Rows | None,
    data: DataOptions,
    tuning: FinetuneOptions,
    options: RunOptions,
) -> None:
    """Trains a model for a task and writes <output_dir>/model.

    The model is scored on dev, if given, at the end of each epoch, and is that
    of the best step. Its scores, and those of the best and of the last step,
    stand in evaluation.json, with the metric by which it is the best;
    <output_dir>/report has more. What a task tunes, such as a threshold, is
    tuned on dev.

    Args:
        spec: of the model, as its class makes it of the training rows.
        init: path of the model to start from.
        lower_case: its casing, if no file says it.
        train: rows with labels.
        dev: validation rows, or None.
        data: how the rows were read.
        tuning: what to train.
        options: how to train.
    Raises: ValueError, naming the file or the flag; OSError.
    """
    _check_dev(dev, tuning, options)
    strategy = run.strategy(options)
    initial = formats.load(init, lower_case=lower_case, seed=options.seed)
    _check_model(initial.config, spec, tuning, options)
    task = _task(initial, spec)
    del initial
    examples = scoring.tokenized(task, train, data)
    options = run.with_rows(options, strategy, train.path, len(examples))
    with run.begun(
        options, strategy, lambda: _inputs(init, train, dev)
    ) as record:
        with strategy.scope():
            _build(task, init, options)
            _freeze(task.keras_model, tuning.freeze_blocks)
        score = None
        if dev:
            score = TaskScores(
                task,
                dev,
                data,
                batch_size=options.batch_size,
                metric=tuning.metric,
            )
            if tuning.metric and record:
                score.check_metric()  # now, not after hours
        with strategy.scope():
            epoch = finetuning.steps_per_epoch(examples, options.batch_size)
            steps = tuning.epochs * epoch
            seen = _seen_tokens(examples, task.vocabulary, tuning, options)
            trainer = _trainer(task, seen, steps, options)
            run.train(
                trainer,
                lambda step: finetuning.dataset(
                    examples,
                    batch_size=options.batch_size,
                    seed=options.seed,
                    first_step=step,
                ),
                steps=steps,
                config=task.config,
                score=score,
                eval_every=options.eval_every or epoch,
                options=options,
                record=record,
            )
        if not strategy.extended.should_checkpoint:
            return
        kept = run.keep(trainer, options, is_scored=bool(score))
        if score:
            task = _score(score, kept, dev, tuning, options)
        run.save(task.loaded, options, kept)


class Computation(NamedTuple):
    """A model as a training step computes it.

    Attributes:
        model: with the layers and the weights of the one it is made of, but
            for the token table.
        give_back: sets the token table of that one.
    """

    model: keras.Model
    give_back: Callable[[], None]


def computed(
    model: keras.Model, seen: np.ndarray | None, xla: bool
) -> Computation:
    """What to train for a model, with AdamW and from the weights it has now.

    On a processor without the work for padding. Such a graph's shapes depend
    on the batch's tokens, which XLA cannot compile, and are untried on GPUs.

    Args:
        model: of a task.
        seen: the ids of all tokens that it will be trained on, in order, for
            a table of these alone; None for the whole table.
        xla: whether XLA is to compile it.
    """
    computation = Computation(model, lambda: None)
    if seen is not None:
        computation = Computation(*models.with_reduced_vocabulary(model, seen))
    if xla or devices.has_gpu():
        return computation
    return computation._replace(
        model=models.without_padding(computation.model, _TRAINING_PARTS)
    )


def _inputs(init, train, dev):
    inputs = {
        "init": run_record.named_model(init),
        "train": files.named_file(train.path),
    }
    if dev:
        inputs["dev"] = files.named_file(dev.path)
    return inputs


def _check_dev(dev, tuning, options):
    """Raises: ValueError, naming the flag that wants dev."""
    run.check_scores(options, "--dev", dev, by_epoch=True)
    if tuning.metric and not dev:
        raise ValueError(f"--metric={tuning.metric}: wanted --dev too.")


def _check_model(config, spec, tuning, options):
    """Raises: ValueError, naming the flag that the model cannot follow."""
    if spec.max_seq_length > config.max_position_embeddings:
        raise ValueError(
            f"--max_seq_length={spec.max_seq_length}: the model takes at most "
            f"{config.max_position_embeddings} (max_position_embeddings)."
        )
    blocks = tuning.freeze_blocks
    if blocks is None:
        return
    if blocks > config.num_hidden_layers:
        raise ValueError(
            f"--freeze_blocks={blocks}: wanted at most "
            f"{config.num_hidden_layers}, the model's blocks."
        )
    if blocks == config.num_hidden_layers and options.layer_decay != 1:
        raise ValueError(
            f"--layer_decay={options.layer_decay}: with "
            f"--freeze_blocks={blocks} no block is left to train."
        )


def _task(initial, spec) -> LabelledTask:
    """The task, whose model is still the one to start from."""
    spec = dataclasses.replace(spec, embedding=initial.spec.embedding_settings)
    made = dataclasses.replace(initial, spec=spec)
    return tasks.task_class(spec.task)(made)


def _build(task, init, options):
    """Gives the task its own model, with the weights that there are for it."""
    fresh, _ = task.build(task.config.with_dropout(options.dropout))
    if note := tasks.segment_note(task.config, task.spec):
        print(f"{init}: {note}")
    if not run.is_resumed(options):
        run.say_initialized(init, fresh)


def _trainer(task, seen, steps, options):
    computation = computed(task.keras_model, seen, options.xla)
    return run.make_trainer(
        computation.model,
        losses=task.losses(),
        metrics=task.metrics(),
        steps=steps,
        options=options,
        give_back=computation.give_back,
    )


def _seen_tokens(examples, vocabulary, tuning, options):
    """The ids for `computed`, None where the whole table is trained or none."""
    if tuning.freeze_blocks is not None:
        return None  # the table stays as it is
    if options.optimizer == "lamb":
        return None  # its step depends on the norm of the whole table
    return finetuning.used_token_ids(examples, vocabulary)


def _freeze(model, blocks):
    if blocks is not None:
        models.freeze(model, blocks)
        frozen = model.count_params() - sum(
            v.value.shape.num_elements() for v in model.trainable_variables
        )
        print(f"--freeze_blocks={blocks}: {frozen:,} weights stay as they are")


def _score(score, kept, dev, tuning, options) -> LabelledTask:
    """Scores what is kept on dev, writes scores and report.

    Returns: the task, with what is tuned on dev.
    """
    if kept.is_restored:
        score.forget()
    score.tune()
    scores = score.scores()
    print(f"{dev.path}: {run.describe(scores)}", flush=True)
    run.keep_scores(
        options,
        {
            **scores,
            **kept.told,
            "metric": score.metric,
            "input": pathlib.Path(dev.path).name,
        },
    )
    report = pathlib.Path(options.output_dir) / REPORT_FOLDER
    score.report(scores, report, tuning.worst)
    return score.task
