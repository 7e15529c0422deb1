# SPDX-License-Identifier: Apache-2.0
"""The steps that all training runs have."""

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import keras
import tensorflow as tf

from kbert import atomic_files, process
from kbert.config import BertConfig
from kbert.layers import rematerialize
from kbert.runs import console, devices, stop_signals
from kbert.runs.run_record import Command, Named, RunRecord
from kbert.training import loop
from kbert.training.callbacks import Callback, CallbackList
from kbert.training.checkpoints import CHECKPOINTS_FOLDER, saved_steps
from kbert.training.config import TrainConfig
from kbert.training.early_stopping import Scorer
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.loop import FitResult
from kbert.training.optimizer import AdamW, Lamb, WarmupDecay
from kbert.training.throughput import Throughput

POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
OPTIMIZERS = {"adamw": FusedAdamW, "lamb": Lamb}
C = TypeVar("C", bound=TrainConfig)

# What TensorFlow raises in a step if another worker does not respond.
_WORKER_GONE = (
    *(tf.errors.UnavailableError, tf.errors.AbortedError),
    *(tf.errors.CancelledError, tf.errors.InternalError),
)


def strategy(config: TrainConfig) -> tf.distribute.Strategy:
    """Chooses the devices. Call it before anything else of TensorFlow.

    Raises: ValueError, naming the flag or TF_CONFIG.
    """
    process.keep_freed_memory()
    chosen = devices.strategy(config.strategy, config.start_timeout)
    replicas = chosen.num_replicas_in_sync
    parts = replicas * config.accumulate_steps
    if config.batch_size % parts:
        raise ValueError(
            f"--batch_size={config.batch_size} is not a multiple of {parts}: "
            f"{replicas} replicas times "
            f"--accumulate_steps={config.accumulate_steps}."
        )
    if config.xla and replicas > 1:
        raise ValueError(
            "--xla: XLA compiles the step of one device; here are "
            f"{replicas} replicas."
        )
    return chosen


def limit_batch(
    config: C, strategy: tf.distribute.Strategy, name: str, num_rows: int
) -> C:
    """Limits the batch size to the number of rows, rounded up to equal parts.

    Args:
        config: of the run.
        strategy: of the run.
        name: of the file or files with the rows.
        num_rows: the number of training rows.
    Raises: ValueError, naming the flag, for more parts than rows.
    """
    if config.accumulate_steps > num_rows:
        raise ValueError(
            f"--accumulate_steps={config.accumulate_steps}: {name} has "
            f"{num_rows:,} rows; needs at most as many."
        )
    parts = strategy.num_replicas_in_sync * config.accumulate_steps
    batch_size = min(config.batch_size, -(-num_rows // parts) * parts)
    if batch_size == config.batch_size:
        return config
    print(
        f"--batch_size={config.batch_size}: {name} has {num_rows:,} rows; a "
        f"batch has {batch_size:,}.",
        flush=True,
    )
    return dataclasses.replace(config, batch_size=batch_size)


def check_scores(
    config: TrainConfig, flag: str, given: object, *, by_epoch: bool
) -> None:
    """Checks that the run has the scores that its settings need.

    Args:
        config: of the run.
        flag: the flag of the validation data.
        given: its value.
        by_epoch: whether each epoch's end is scored without --eval_every.
    Raises: ValueError, naming the flag that needs scores and what is missing.
    """
    needed = "" if config.eval_every or by_epoch else "--eval_every"
    needed = needed if given else flag
    asks = {
        "eval_every": config.eval_every,
        "patience": config.patience,
        "keep": config.keep if config.keep == "best" else None,
    }
    for name, value in asks.items():
        if value and needed:
            raise ValueError(
                f"--{name}={value}: the model is not scored while it trains; "
                f"needs {needed} too."
            )


@contextlib.contextmanager
def opened(
    config: TrainConfig,
    command: Command,
    strategy: tf.distribute.Strategy,
    inputs: Callable[[], Mapping[str, Named]],
) -> Iterator[RunRecord | None]:
    """Sets the seed and the dtype policy, and locks output_dir for this run.

    Args:
        config: of the run.
        command: for the record.
        strategy: of the run.
        inputs: returns the files that are read, by flag, for the record.
    Yields: the record of the folder; None on a process that is not the chief.
    Raises: ValueError if another run uses the folder, or if its checkpoints
        are of a run with other settings; OSError.
    """
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(POLICIES[config.dtype])
    if not strategy.extended.should_checkpoint:
        yield None
        return
    with atomic_files.locked(config.output_dir, "--output_dir") as output:
        record = RunRecord(
            output,
            command.with_setting("batch_size", config.batch_size),
            inputs=inputs(),
        )
        record.check(console.print_message)
        yield record


def is_resumed(config: TrainConfig) -> bool:
    """Whether there are checkpoints of the run to resume from."""
    path = pathlib.Path(config.output_dir) / CHECKPOINTS_FOLDER
    return bool(saved_steps(path))


def print_initialized(init: str, fresh: Sequence[str]) -> None:
    """Prints which layers have no weights in the initial model."""
    source = f"all other weights are from {init}"
    if fresh:
        print(f"newly initialized: {', '.join(fresh)}; {source}", flush=True)
    else:
        print(source.replace("other ", ""), flush=True)


def make_trainer(
    model: keras.Model,
    *,
    losses: loop.Losses,
    metrics: loop.Metrics,
    steps: int,
    config: TrainConfig,
    on_final_weights: Callable[[], None] = lambda: None,
) -> loop.Trainer:
    """The Trainer of a run.

    Args:
        model: made in the scope of the current strategy.
        losses: by output.
        metrics: by output.
        steps: of the whole run.
        config: of the run.
        on_final_weights: see `loop.Trainer`.
    """
    optimizer = make_optimizer(config, steps)
    if config.remat:
        rematerialize(model)
    return loop.Trainer(
        model,
        losses=losses,
        metrics=metrics,
        optimizer=optimizer,
        clip_norm=config.clip_norm,
        accumulate_steps=config.accumulate_steps,
        xla=config.xla,
        on_final_weights=on_final_weights,
    )


def make_optimizer(
    config: TrainConfig, steps: int
) -> AdamW | keras.optimizers.LossScaleOptimizer:
    """The optimizer of a run with this number of steps."""
    optimizer = OPTIMIZERS[config.optimizer](
        WarmupDecay(
            config.learning_rate,
            int(steps * config.warmup_share),
            steps,
            config.schedule,
        ),
        weight_decay=config.weight_decay,
        layer_decay=config.layer_decay,
        use_ema=config.ema_decay is not None,
        ema_momentum=config.ema_decay or 0.0,
    )
    if config.dtype == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def train(
    trainer: loop.Trainer,
    batches_from: Callable[[int], tf.data.Dataset],
    *,
    steps: int,
    model_config: BertConfig,
    scorer: Scorer | None,
    config: TrainConfig,
    record: RunRecord | None,
) -> FitResult:
    """Trains a model and prints a line for each log.

    At SIGTERM or Ctrl-C it saves a checkpoint and exits with
    stop_signals.EXIT_CODE.

    Args:
        trainer: of the model.
        batches_from: see `loop.fit`.
        steps: of the whole run.
        model_config: of the model.
        scorer: computes validation scores every config.eval_every steps; or
            None.
        config: of the run.
        record: of the folder; None on a process that is not the chief.
    """
    with stop_signals.remembered() as signalled:
        callbacks: list[Callback] = [_StopOnSignal(signalled)]
        if record:
            callbacks += [record, console.Console(steps)]
        try:
            result = loop.fit(
                trainer,
                batches_from,
                steps=steps,
                config=config,
                scorer=scorer if config.eval_every else None,
                throughput=Throughput(
                    trainer.take_work, model_config, config.peak_tflops
                ),
                callback=CallbackList(callbacks),
            )
        except _WORKER_GONE as error:
            if config.strategy != "multi_worker":
                raise
            raise ValueError(
                f"A worker of TF_CONFIG is gone ({type(error).__name__}); "
                "start all of them again to resume from the last checkpoint."
            ) from None
    # A signal in the last step counts too, but workers cannot agree on it.
    in_last_step = signalled() and config.strategy != "multi_worker"
    if result.stopped or in_last_step:
        console.print_message(
            f"{signalled.name or 'stopped by another worker'}: saved at step "
            f"{result.step:,}; start it again to resume."
        )
        sys.exit(stop_signals.EXIT_CODE)
    trainer.finish()  # the checkpoints have averages and weights
    return result


class _StopOnSignal(Callback):
    """Stops the run once a signal has come."""

    def __init__(self, signalled: Callable[[], bool]):
        self._signalled = signalled

    def should_stop(self):
        return self._signalled()
