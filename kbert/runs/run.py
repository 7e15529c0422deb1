# SPDX-License-Identifier: Apache-2.0
"""The settings and the steps that all training runs have."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import keras
import tensorflow as tf

from kbert import atomic_files, process
from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel
from kbert.config import BertConfig
from kbert.layers import rematerialize
from kbert.runs import devices, files, sigterm
from kbert.runs.progress import Progress
from kbert.tasks import TaskSpec
from kbert.training import history, loop, throughput
from kbert.training.checkpoints import CHECKPOINTS_FOLDER
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import AdamW, Lamb, WarmupDecay
from kbert.training.plan import HeldOut, Plan, Watcher

POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
OPTIMIZERS = {"adamw": FusedAdamW, "lamb": Lamb}
# In output_dir: the last weights, and the best step's if it is another.
MODEL_FOLDER, BEST_MODEL_FOLDER = "model", "best_model"
EVALUATION_FILE = "evaluation.json"
ORIGIN_FILE = "origin.txt"
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
        eval_every: steps between two scores on held-out data, each with a
            checkpoint; None to score before and after alone.
        patience: the run ends after so many of these scores without a better
            one; or None.
        keep_checkpoints: how many to keep, the newest; the best step's is
            kept beside them.
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
    eval_every: int | None
    patience: int | None
    keep_checkpoints: int
    peak_tflops: float | None
    settings: str

    @property
    def model_folder(self) -> pathlib.Path:
        """Where the trained model goes."""
        return pathlib.Path(self.output_dir) / MODEL_FOLDER


class Score(Protocol):
    """Held-out scores of a model, called when it has new weights.

    Attributes:
        metric: the score that tells the best step, or "loss".
        data: a name of the held-out data, another for others.
    """

    metric: str

    @property
    def data(self) -> str: ...

    def __call__(self) -> Mapping[str, float]: ...


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


def check_eval_every(options: RunOptions, flag: str, given: object) -> None:
    """Sees that there are held-out data to score, if they are to be.

    Raises: ValueError, naming the flag that gives them, or --eval_every.
    """
    if options.patience and not options.eval_every:
        raise ValueError(
            f"--patience={options.patience}: no scores to wait for; wanted "
            "--eval_every too."
        )
    if options.eval_every and not given:
        raise ValueError(
            f"--eval_every={options.eval_every}: nothing to score the model "
            f"on; wanted {flag} too."
        )


@contextlib.contextmanager
def begun(
    options: RunOptions,
    strategy: tf.distribute.Strategy,
    origin: str | None = None,
) -> Iterator[None]:
    """Sets seed and dtype, and keeps output_dir to this run.

    Args:
        options: of the run.
        strategy: likewise.
        origin: a name of what is trained on what, if a run on something else
            may not go on from the checkpoints there.
    Raises: ValueError if another run has it, or if its checkpoints are of
        another origin; OSError.
    """
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(POLICIES[options.dtype])
    if not strategy.extended.should_checkpoint:
        yield
        return
    with atomic_files.locked(options.output_dir, "--output_dir") as output:
        if origin:
            _check_origin(output, origin)
        atomic_files.write_text(output / "flags.txt", options.settings)
        yield


def _check_origin(output, origin):
    """And keeps it for the next run there."""
    path = output / ORIGIN_FILE
    known = path.read_text("utf-8") if path.exists() else origin
    if known != origin and any((output / CHECKPOINTS_FOLDER).glob("*")):
        raise ValueError(
            f"--output_dir={output}: its checkpoints are of a run with "
            "another --init or --train, or that read it otherwise; wanted "
            "those it had, or another folder."
        )
    atomic_files.write_text(path, origin)


def with_dropout(config: BertConfig, options: RunOptions) -> BertConfig:
    """The config to train with."""
    if options.dropout is None:
        return config
    return dataclasses.replace(
        config,
        hidden_dropout_prob=options.dropout,
        attention_probs_dropout_prob=options.dropout,
    )


def make_trainer(
    model: keras.Model,
    *,
    losses: loop.Losses,
    metrics: loop.Metrics,
    steps: int,
    options: RunOptions,
    give_back: Callable[[], None] = lambda: None,
) -> loop.Trainer:
    """What trains a model in a run of so many steps.

    Args:
        model: made under the current strategy, like all that follows.
        losses: by output.
        metrics: likewise.
        steps: of the whole run.
        options: how to train.
        give_back: as the trainer takes it.
    """
    optimizer = make_optimizer(options, steps)
    if options.remat:
        rematerialize(model)
    return loop.Trainer(
        model,
        losses=losses,
        metrics=metrics,
        optimizer=optimizer,
        clip_norm=options.clip_norm,
        accumulate_steps=options.accumulate_steps,
        xla=options.xla,
        give_back=give_back,
    )


def train(
    trainer: loop.Trainer,
    batches_from: Callable[[int], tf.data.Dataset],
    *,
    steps: int,
    config: BertConfig,
    score: Score | None,
    options: RunOptions,
) -> None:
    """Trains a model, and prints a line for each log.

    Exits with sigterm.EXIT_CODE, all saved, if SIGTERM comes.

    Args:
        trainer: of the model.
        batches_from: gives the batches after so many steps.
        steps: of the whole run.
        config: of the model.
        score: gives held-out scores of the model, or None.
        options: how to train.
    """
    held_out = None
    if options.eval_every and score:
        held_out = HeldOut(
            every=options.eval_every,
            score=score,
            metric=score.metric,
            data=score.data,
        )
    measure = functools.partial(
        throughput.measures, config=config, peak_tflops=options.peak_tflops
    )
    with sigterm.remembered() as came:
        watcher = _watcher(steps, measure, came)
        try:
            ended = loop.fit(
                trainer, batches_from, _plan(options, steps), watcher, held_out
            )
        except _WORKER_GONE as error:
            if options.strategy != "multi_worker":
                raise
            raise ValueError(
                f"A worker of TF_CONFIG is gone ({type(error).__name__}); "
                "start all of them again to go on from the last checkpoint."
            ) from None
    # Heard in the last step too; workers, who cannot ask then, go on.
    heard = came() and options.strategy != "multi_worker"
    if ended.stopped or heard:
        _say(f"SIGTERM: saved at step {ended.step:,}; start it again to go on.")
        sys.exit(sigterm.EXIT_CODE)
    trainer.finish()  # the checkpoints have averages and weights


def _plan(options, steps):
    return Plan(
        steps=steps,
        output_dir=options.output_dir,
        log_every=options.log_every,
        save_every=options.save_every,
        keep_checkpoints=options.keep_checkpoints,
        patience=options.patience,
    )


def _watcher(steps, measure, should_stop):
    """Prints, on the one process that does."""
    if not tf.distribute.get_strategy().extended.should_checkpoint:
        return Watcher(measure=measure, should_stop=should_stop)
    progress = Progress()
    report = _Report(steps)
    return Watcher(
        measure=measure,
        should_stop=should_stop,
        say=_say,
        tick=lambda step: progress("training", step, steps),
        report=report,
        scored=report.scored,
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

    def scored(self, step, scores, seconds):
        """Prints held-out scores, whose time is none of the steps'."""
        text = f"held out: {describe(scores)}"
        print(f"step {step:,}/{self._steps:,}  {text}", flush=True)
        if self._last:
            last_step, last_time = self._last
            self._last = (last_step, last_time + seconds)


def keep_scores(options: RunOptions, **scores: object) -> None:
    """Writes scores into evaluation.json, beside others that it has."""
    path = pathlib.Path(options.output_dir) / EVALUATION_FILE
    files.write_json(path, kept_scores(options) | scores)


def kept_scores(options: RunOptions) -> dict:
    """What evaluation.json has."""
    path = pathlib.Path(options.output_dir) / EVALUATION_FILE
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def save(
    trained: LoadedModel,
    trainer: loop.Trainer,
    options: RunOptions,
    tuned: Callable[[], TaskSpec] | None = None,
) -> None:
    """Writes the model folder, and of a run with eval_every the best one.

    Args:
        trained: the model, with the weights that it ended with. Later it may
            have those of another step.
        trainer: of the model.
        options: of the run.
        tuned: gives the spec for the weights that the model has when it is
            called, if that depends on them.
    Raises: ValueError if something else is where a folder belongs; OSError.
    """
    _save(options.model_folder, trained)
    print(f"{options.model_folder}: the trained model", flush=True)
    if not options.eval_every:
        return
    scored = history.scored(options.output_dir)
    best, last = history.best(scored), scored[-1]
    path = pathlib.Path(options.output_dir) / BEST_MODEL_FOLDER
    if best:
        keep_scores(options, best={"step": best.step, **best.scores})
    if not best:
        print(f"best step: none, for no held-out {last.metric} is finite")
    elif best.step == last.step:
        print(f"best step: the last, held-out {last}")
    elif loop.restore(trainer, _plan(options, last.step), best.step, _say):
        trainer.finish()
        if tuned:
            trained = dataclasses.replace(trained, spec=tuned())
        _save(path, trained)
        print(
            f"{path}: step {best.step:,}, the best: held-out {best}; "
            f"{last.number:.4f} at the last step"
        )
        return
    else:
        _say(f"{path}: not written, for that was the best step's.")
    if path.exists():  # an earlier run's
        folder.check_replaceable(path)
        atomic_files.remove_folder(path)


def _save(path, trained):
    folder.save(
        path,
        trained.model,
        config=trained.config,
        vocabulary=trained.vocabulary,
        spec=trained.spec,
        licences=trained.licences,
    )


def describe(values: Mapping[str, float]) -> str:
    """{"mlm_loss": 6.2, "nsp_loss": 0.7} as "mlm loss 6.2000, nsp ..."."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in values.items()
    )
