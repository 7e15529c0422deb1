# SPDX-License-Identifier: Apache-2.0
"""The settings and the steps that all training runs have."""

import contextlib
import dataclasses
import fcntl
import functools
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import keras
import tensorflow as tf

from kbert import process
from kbert.config import BertConfig
from kbert.layers import rematerialize
from kbert.runs import devices, files, sigterm
from kbert.runs.progress import Progress
from kbert.training import loop, throughput
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import AdamW, Lamb, WarmupDecay

POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
OPTIMIZERS = {"adamw": FusedAdamW, "lamb": Lamb}
MODEL_FOLDER = "model"  # in output_dir
# What TensorFlow raises in a step when another worker does not answer.
_WORKER_GONE = (
    *(tf.errors.UnavailableError, tf.errors.AbortedError),
    *(tf.errors.CancelledError, tf.errors.InternalError),
)
# Of a log's values, those that do not say how well the model is.
_SPEEDS = {
    *("tokens_per_second", "model_tflops"),
    *("flop_utilization", "peak_memory_gb"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run trains, whatever it trains.

    Attributes:
        output_dir: folder of the run.
        strategy: what it runs on, one of devices.STRATEGIES.
        start_timeout: seconds to wait for other workers.
        batch_size: rows of a step, on all replicas together.
        accumulate_steps: parts in which a replica takes its rows of a step.
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
        keep_checkpoints: how many to keep, the newest.
        peak_tflops: what a device can do in the dtype, in 10**12 operations
            a second, for the share that the run makes of it; or None.
        settings: all settings of the run, for its flags.txt.
    """

    output_dir: str
    strategy: str
    start_timeout: float
    batch_size: int
    accumulate_steps: int
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
    keep_checkpoints: int
    peak_tflops: float | None
    settings: str

    @property
    def model_folder(self) -> pathlib.Path:
        """Where the trained model goes."""
        return pathlib.Path(self.output_dir) / MODEL_FOLDER


def strategy(options: RunOptions) -> tf.distribute.Strategy:
    """Chooses the devices; call it before anything of TensorFlow's.

    Raises: ValueError, naming the flag or TF_CONFIG.
    """
    process.keep_freed_memory()
    chosen = devices.strategy(options.strategy, options.start_timeout)
    replicas = chosen.num_replicas_in_sync
    parts = replicas * options.accumulate_steps
    if options.batch_size % parts:
        raise ValueError(
            f"--batch_size={options.batch_size} is not divided by {parts}: "
            f"{replicas} replicas times "
            f"--accumulate_steps={options.accumulate_steps}."
        )
    if options.xla and replicas > 1:
        raise ValueError(
            "--xla: XLA compiles the step of one device; here are "
            f"{replicas} replicas."
        )
    return chosen


@contextlib.contextmanager
def begun(
    options: RunOptions, strategy: tf.distribute.Strategy
) -> Iterator[None]:
    """Sets seed and dtype, and keeps output_dir to this run.

    Raises: ValueError if another run has it; OSError.
    """
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(POLICIES[options.dtype])
    if not strategy.extended.should_checkpoint:
        yield
        return
    output = pathlib.Path(options.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    # The lock goes with the process, however it ends; the file stays.
    with (output / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"--output_dir={options.output_dir}: another run is at work "
                "there; wait for its end, or give another folder."
            ) from None
        files.write_text(output / "flags.txt", options.settings)
        yield


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
    config: BertConfig,
    options: RunOptions,
) -> None:
    """Trains a model, and prints a line for each log.

    Exits with sigterm.EXIT_CODE, all saved, if SIGTERM comes.
    """
    optimizer = make_optimizer(options, steps)
    if options.remat:
        rematerialize(model)
    trainer = loop.Trainer(
        model,
        losses=losses,
        metrics=metrics,
        optimizer=optimizer,
        clip_norm=options.clip_norm,
        accumulate_steps=options.accumulate_steps,
        xla=options.xla,
    )
    plan = loop.Plan(
        steps=steps,
        output_dir=options.output_dir,
        log_every=options.log_every,
        save_every=options.save_every,
        keep_checkpoints=options.keep_checkpoints,
    )
    measure = functools.partial(
        throughput.measures, config=config, peak_tflops=options.peak_tflops
    )
    with sigterm.remembered() as came:
        watcher = _watcher(steps, measure, came)
        try:
            done = loop.fit(trainer, batches_from, plan, watcher)
        except _WORKER_GONE as error:
            if options.strategy != "multi_worker":
                raise
            raise ValueError(
                f"A worker of TF_CONFIG is gone ({type(error).__name__}); "
                "start all of them again to go on from the last checkpoint."
            ) from None
    # Heard in the last step too; workers, who cannot ask then, go on.
    heard = came() and options.strategy != "multi_worker"
    if done < steps or heard:
        _say(f"SIGTERM: saved at step {done:,}; start it again to go on.")
        sys.exit(sigterm.EXIT_CODE)
    # Averages, if any, become the weights; the checkpoints have both.
    optimizer.finalize_variable_values(model.trainable_variables)


def _watcher(steps, measure, should_stop):
    """Prints, on the one process that does."""
    if not tf.distribute.get_strategy().extended.should_checkpoint:
        return loop.Watcher(measure=measure, should_stop=should_stop)
    progress = Progress()
    return loop.Watcher(
        measure=measure,
        should_stop=should_stop,
        say=_say,
        tick=lambda step: progress("training", step, steps),
        report=_Report(steps),
    )


def _say(line):
    print(line, file=sys.stderr, flush=True)


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
        shown = {k: v for k, v in values.items() if k not in _SPEEDS}
        line = f"step {step:,}/{self._steps:,}  {describe(shown)}"
        if self._last:  # the first steps also compile
            last_step, last_time = self._last
            rate = (step - last_step) / (now - last_time)
            left = round((self._steps - step) / rate)
            line += f"  {rate:.1f} steps/s"
            if "tokens_per_second" in values:
                line += f", {values['tokens_per_second']:,.0f} tokens/s"
            if "flop_utilization" in values:
                line += f", {values['flop_utilization']:.0%} of the peak"
            line += f", {left // 60}:{left % 60:02} left"
        self._last = (step, now)
        print(line, flush=True)


def describe(values: Mapping[str, float]) -> str:
    """{"mlm_loss": 6.2, "nsp_loss": 0.7} as "mlm loss 6.2000, nsp ..."."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in values.items()
    )
