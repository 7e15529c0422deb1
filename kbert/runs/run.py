# SPDX-License-Identifier: Apache-2.0
"""The settings and the steps that all training runs have."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from kbert import process
from kbert.config import BertConfig
from kbert.runs import files
from kbert.runs.progress import Progress
from kbert.training import loop
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import LinearWarmupDecay

POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
MODEL_FOLDER = "model"  # in output_dir


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run trains, whatever it trains.

    Attributes:
        output_dir: folder of the run.
        batch_size: rows of a step, on all replicas together.
        learning_rate: the highest.
        warmup_share: share of the steps in which the rate rises.
        weight_decay: of all but biases and norms.
        clip_norm: longest norm of the gradients.
        dropout: of hidden states and attention, None for the config's.
        dtype: of the matrix products, a key of POLICIES.
        seed: of weights, dropout and batches.
        log_every: steps between two logs.
        save_every: steps between two checkpoints.
        settings: all settings of the run, for its flags.txt.
    """

    output_dir: str
    batch_size: int
    learning_rate: float
    warmup_share: float
    weight_decay: float
    clip_norm: float
    dropout: float | None
    dtype: str
    seed: int
    log_every: int
    save_every: int
    settings: str

    @property
    def model_folder(self) -> pathlib.Path:
        """Where the trained model goes."""
        return pathlib.Path(self.output_dir) / MODEL_FOLDER


def begin(options: RunOptions) -> tf.distribute.Strategy:
    """Makes output_dir, sets seed and dtype, and chooses the devices.

    Raises: ValueError if the replicas do not divide the batch; OSError.
    """
    process.keep_freed_memory()
    output = pathlib.Path(options.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    files.write_text(output / "flags.txt", options.settings)
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(POLICIES[options.dtype])
    strategy = loop.strategy()
    if options.batch_size % strategy.num_replicas_in_sync:
        raise ValueError(
            f"--batch_size={options.batch_size} is not divided by the "
            f"{strategy.num_replicas_in_sync} GPUs."
        )
    return strategy


def with_dropout(config: BertConfig, options: RunOptions) -> BertConfig:
    """The config to train with."""
    if options.dropout is None:
        return config
    return dataclasses.replace(
        config,
        hidden_dropout_prob=options.dropout,
        attention_probs_dropout_prob=options.dropout,
    )


def train(
    model: keras.Model,
    batches_from: Callable[[int], tf.data.Dataset],
    *,
    steps: int,
    losses: loop.Losses,
    metrics: loop.Metrics,
    options: RunOptions,
) -> None:
    """Trains a model, and prints a line for each log."""
    schedule = LinearWarmupDecay(
        options.learning_rate, int(steps * options.warmup_share), steps
    )
    optimizer = FusedAdamW(schedule, weight_decay=options.weight_decay)
    if options.dtype == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    trainer = loop.Trainer(
        model,
        losses=losses,
        metrics=metrics,
        optimizer=optimizer,
        clip_norm=options.clip_norm,
    )
    progress = Progress()
    loop.fit(
        trainer,
        batches_from,
        steps=steps,
        output_dir=options.output_dir,
        log_every=options.log_every,
        save_every=options.save_every,
        report=_Report(steps),
        tick=lambda step: progress("training", step, steps),
    )


class _Report:
    """Prints the step, what was measured, the speed and the time left."""

    def __init__(self, steps):
        self._steps = steps
        self._last = None

    def __call__(self, step, values):
        now = time.monotonic()
        line = f"step {step:,}/{self._steps:,}  {describe(values)}"
        if self._last:  # the first steps also compile
            last_step, last_time = self._last
            rate = (step - last_step) / (now - last_time)
            left = round((self._steps - step) / rate)
            line += f"  {rate:.1f} steps/s, {left // 60}:{left % 60:02} left"
        self._last = (step, now)
        print(line, flush=True)


def describe(values: Mapping[str, float]) -> str:
    """{"mlm_loss": 6.2, "nsp_loss": 0.7} as "mlm loss 6.2000, nsp ..."."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in values.items()
    )
