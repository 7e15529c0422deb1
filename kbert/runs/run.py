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
from kbert.layers import rematerialize
from kbert.runs import files
from kbert.runs.progress import Progress
from kbert.training import loop
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import AdamW, Lamb, WarmupDecay

POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
OPTIMIZERS = {"adamw": FusedAdamW, "lamb": Lamb}
MODEL_FOLDER = "model"  # in output_dir


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run trains, whatever it trains.

    Attributes:
        output_dir: folder of the run.
        batch_size: rows of a step, on all replicas together.
        optimizer: a key of OPTIMIZERS.
        learning_rate: the highest.
        schedule: what it does after the warm-up, one of DECAYS.
        warmup_share: share of the steps in which the rate rises.
        layer_decay: what each block's rate is of the one's above it.
        ema_decay: of the moving averages of the weights, which then are the
            trained model; None for the last weights themselves.
        weight_decay: of all but biases and norms.
        clip_norm: longest norm of the gradients.
        dropout: of hidden states and attention, None for the config's.
        dtype: of the matrix products, a key of POLICIES.
        remat: whether blocks are computed again for their gradients.
        xla: whether XLA compiles the step.
        seed: of weights, dropout and batches.
        log_every: steps between two logs.
        save_every: steps between two checkpoints.
        settings: all settings of the run, for its flags.txt.
    """

    output_dir: str
    batch_size: int
    optimizer: str
    learning_rate: float
    schedule: str
    warmup_share: float
    layer_decay: float
    ema_decay: float | None
    weight_decay: float
    clip_norm: float
    dropout: float | None
    dtype: str
    remat: bool
    xla: bool
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
    if options.xla and strategy.num_replicas_in_sync > 1:
        raise ValueError(
            "--xla: XLA compiles the step of one device; here are "
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
    optimizer = make_optimizer(options, steps)
    if options.remat:
        rematerialize(model)
    trainer = loop.Trainer(
        model,
        losses=losses,
        metrics=metrics,
        optimizer=optimizer,
        clip_norm=options.clip_norm,
        xla=options.xla,
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
    # Averages, if any, become the weights; the checkpoints have both.
    optimizer.finalize_variable_values(model.trainable_variables)


def make_optimizer(
    options: RunOptions, steps: int
) -> AdamW | keras.optimizers.LossScaleOptimizer:
    """The optimizer of a run of so many steps."""
    optimizer = OPTIMIZERS[options.optimizer](
        WarmupDecay(
            options.learning_rate,
            int(steps * options.warmup_share),
            steps,
            options.schedule,
        ),
        weight_decay=options.weight_decay,
        layer_decay=options.layer_decay,
        use_ema=options.ema_decay is not None,
        ema_momentum=options.ema_decay or 0.0,
    )
    if options.dtype == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


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
