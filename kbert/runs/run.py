# SPDX-License-Identifier: Apache-2.0
"""The settings and the steps that all training runs have."""

import contextlib
import dataclasses
import functools
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypedDict

import keras
import tensorflow as tf

from kbert import atomic_files, json_files, process
from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel
from kbert.config import BertConfig
from kbert.layers import rematerialize
from kbert.runs import devices, files, stop_signals
from kbert.runs.progress import Progress
from kbert.runs.run_record import Named, RunRecord
from kbert.training import history, loop, throughput
from kbert.training.checkpoints import CHECKPOINTS_FOLDER, saved_steps
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import AdamW, Lamb, WarmupDecay
from kbert.training.plan import HeldOut, Plan, Watcher

POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
OPTIMIZERS = {"adamw": FusedAdamW, "lamb": Lamb}
MODEL_FOLDER = "model"  # in output_dir
EVALUATION_FILE = "evaluation.json"
# What TensorFlow raises in a step when another worker does not answer.
_WORKER_GONE = (
    *(tf.errors.UnavailableError, tf.errors.AbortedError),
    *(tf.errors.CancelledError, tf.errors.InternalError),
)


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
        eval_every: steps between two scores on validation data, each with a
            checkpoint; None for the run's own choice.
        patience: the run ends after so many of these scores without a better
            one; or None.
        keep: which step's weights the trained model has, "best" or "last";
            None for the best where there are scores from during the run.
        keep_checkpoints: how many to keep, the newest; the best step's is
            kept beside them.
        peak_tflops: what a device can do in the dtype, in 10**12 operations
            a second, for the share that the run makes of it; or None.
        command: that runs, such as "finetune".
        settings: all settings of the run, by flag, for its record.
        flags: the same as lines, for its flags.txt.
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
    keep: str | None
    keep_checkpoints: int
    peak_tflops: float | None
    command: str
    settings: Mapping[str, Any]
    flags: str

    @property
    def model_folder(self) -> pathlib.Path:
        """Where the trained model goes."""
        return pathlib.Path(self.output_dir) / MODEL_FOLDER


# Of a log's values, those that do not say how good the model is.
_NOT_SHOWN = {*throughput.MEASURES, "learning_rate", "gradient_norm"}


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


def with_rows(
    options: RunOptions,
    strategy: tf.distribute.Strategy,
    name: str,
    num_rows: int,
) -> RunOptions:
    """With a batch of no more rows than there are, but for equal parts.

    Args:
        options: of the run.
        strategy: of the run.
        name: of the file or files of the rows.
        num_rows: that there are to train on.
    Returns: options whose settings, the run's record, have that batch too.
    Raises: ValueError, naming the flag, for more parts than rows.
    """
    if options.accumulate_steps > num_rows:
        raise ValueError(
            f"--accumulate_steps={options.accumulate_steps}: {name} has "
            f"{num_rows:,} rows; needs at most as many."
        )
    parts = strategy.num_replicas_in_sync * options.accumulate_steps
    batch_size = min(options.batch_size, -(-num_rows // parts) * parts)
    if batch_size == options.batch_size:
        return options
    print(
        f"--batch_size={options.batch_size}: {name} has {num_rows:,} rows; a "
        f"batch has {batch_size:,}.",
        flush=True,
    )
    return dataclasses.replace(
        options,
        batch_size=batch_size,
        settings={**options.settings, "batch_size": batch_size},
    )


def check_scores(
    options: RunOptions, flag: str, given: object, *, by_epoch: bool
) -> None:
    """Sees that there are scores during the run, if they are asked for.

    Args:
        options: of the run.
        flag: gives the validation data.
        given: its value.
        by_epoch: whether each epoch's end is scored without --eval_every.
    Raises: ValueError, naming the flag that asks and the one that it needs.
    """
    needed = "" if options.eval_every or by_epoch else "--eval_every"
    needed = needed if given else flag
    asks = {
        "eval_every": options.eval_every,
        "patience": options.patience,
        "keep": options.keep if options.keep == "best" else None,
    }
    for name, value in asks.items():
        if value and needed:
            raise ValueError(
                f"--{name}={value}: the model is not scored while it trains; "
                f"needs {needed} too."
            )


@contextlib.contextmanager
def begun(
    options: RunOptions,
    strategy: tf.distribute.Strategy,
    inputs: Callable[[], Mapping[str, Named]],
) -> Iterator[RunRecord | None]:
    """Sets seed and dtype, and keeps output_dir to this run.

    Args:
        options: of the run.
        strategy: of the run.
        inputs: gives what is read, by flag, for the record.
    Yields: the record of the folder; None on a process that is not the chief.
    Raises: ValueError if another run has it, or if its checkpoints are of
        a run with other settings; OSError.
    """
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(POLICIES[options.dtype])
    if not strategy.extended.should_checkpoint:
        yield None
        return
    with atomic_files.locked(options.output_dir, "--output_dir") as output:
        record = RunRecord(
            output,
            options.command,
            settings=options.settings,
            inputs=inputs(),
            flags=options.flags,
        )
        record.check(_say)
        yield record


def is_resumed(options: RunOptions) -> bool:
    """Whether there are checkpoints of the run to resume from."""
    path = pathlib.Path(options.output_dir) / CHECKPOINTS_FOLDER
    return bool(saved_steps(path))


def say_initialized(init: str, fresh: Sequence[str]) -> None:
    """Prints which layers have no weights in the model to start from."""
    source = f"all other weights are from {init}"
    if fresh:
        print(f"newly initialized: {', '.join(fresh)}; {source}", flush=True)
    else:
        print(source.replace("other ", ""), flush=True)


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
    eval_every: int | None,
    options: RunOptions,
    record: RunRecord | None,
) -> None:
    """Trains a model, and prints a line for each log.

    Exits with stop_signals.EXIT_CODE, all saved, at SIGTERM or Ctrl-C.

    Args:
        trainer: of the model.
        batches_from: gives the batches after so many steps.
        steps: of the whole run.
        config: of the model.
        score: gives validation scores of the model, or None.
        eval_every: steps between two of them; None for none while it trains.
        options: how to train.
        record: of the folder, on the process that writes.
    """
    held_out = None
    if eval_every and score:
        held_out = HeldOut(
            every=eval_every,
            score=score,
            metric=score.metric,
            data=score.data,
        )
    measure = functools.partial(
        throughput.measures, config=config, peak_tflops=options.peak_tflops
    )
    with stop_signals.remembered() as came:
        watcher = _watcher(steps, measure, came, record)
        try:
            ended = loop.fit(
                trainer, batches_from, _plan(options, steps), watcher, held_out
            )
        except _WORKER_GONE as error:
            if options.strategy != "multi_worker":
                raise
            raise ValueError(
                f"A worker of TF_CONFIG is gone ({type(error).__name__}); "
                "start all of them again to resume from the last checkpoint."
            ) from None
    if record:
        record.end(ended.step)
    # Heard in the last step too; workers, who cannot ask then, go on.
    heard = came() and options.strategy != "multi_worker"
    if ended.stopped or heard:
        _say(
            f"{came.name or 'told to stop'}: saved at step {ended.step:,}; "
            "start it again to resume."
        )
        sys.exit(stop_signals.EXIT_CODE)
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


def _watcher(steps, measure, should_stop, record):
    """Prints and records, on the one process that does."""
    if not record:
        return Watcher(measure=measure, should_stop=should_stop)
    progress = Progress()
    report = _Report(steps)
    return Watcher(
        measure=measure,
        should_stop=should_stop,
        say=_say,
        begins=record.begin,
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
        shown = {k: v for k, v in values.items() if k not in _NOT_SHOWN}
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


def keep_scores(options: RunOptions, scores: Mapping[str, object]) -> None:
    """Writes evaluation.json."""
    path = pathlib.Path(options.output_dir) / EVALUATION_FILE
    files.write_json(path, scores)


class _Evaluation(TypedDict, total=False):
    """What a resumed run needs of evaluation.json; more stands in it."""

    step: int
    data: str
    before: dict[str, float | None]


def kept_scores(options: RunOptions) -> dict:
    """What evaluation.json has.

    Raises: ValueError, naming file and field; OSError.
    """
    path = pathlib.Path(options.output_dir) / EVALUATION_FILE
    if not path.exists():
        return {}
    return json_files.read(path, _Evaluation, others=Any)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """Whose weights the model has that is to be saved.

    Attributes:
        step: of the run.
        told: for evaluation.json: the step, which it is ("best" or "last"),
            and both steps' scores.
        line: the same for the user; empty without scores.
        is_restored: whether the model had others at the end of training.
    """

    step: int
    told: Mapping[str, object]
    line: str
    is_restored: bool


def keep(trainer: loop.Trainer, options: RunOptions, is_scored: bool) -> Kept:
    """Gives the model the weights of the best step, or leaves the last one's.

    Args:
        trainer: at the end of training.
        options: of the run.
        is_scored: whether it was scored during training.
    Raises: ValueError if the checkpoint of neither is whole.
    """
    step = int(trainer.step.numpy())
    if not is_scored:
        told = {"step": step, "kept": "last"}
        return Kept(step=step, told=told, line="", is_restored=False)
    scored = history.scored(options.output_dir)
    best, last = history.best(scored), scored[-1]
    chosen = last if options.keep == "last" or not best else best
    is_restored = chosen.step != step
    if is_restored and not _restore(trainer, options, chosen.step):
        if not _restore(trainer, options, step):
            raise ValueError(
                f"--output_dir={options.output_dir}: the checkpoints of the "
                "best and of the last step are both damaged."
            )
        chosen = last
    is_best = bool(best) and chosen.step == best.step
    told = {
        "step": chosen.step,
        "kept": "best" if is_best else "last",
        "best": best and {"step": best.step, **best.scores},
        "last": {"step": last.step, **last.scores},
    }
    return Kept(
        step=chosen.step,
        told=told,
        line=_kept_line(chosen, best, last),
        is_restored=is_restored,
    )


def _restore(trainer, options, step):
    """The weights of a step as they would be at the end."""
    plan = _plan(options, step)
    is_whole = loop.restore(trainer, plan, step, _say)
    if is_whole:
        trainer.finish()
    return is_whole


def _kept_line(chosen, best, last):
    if not best:
        return f"of step {last.step:,}, the last; no {last.metric} is finite"
    if best.step == last.step:
        return f"of step {last.step:,}, the last and the best: {last}"
    name, other = ("last", best) if chosen is last else ("best", last)
    other_name = "best" if chosen is last else "last"
    return (
        f"of step {chosen.step:,}, the {name}: {chosen}; step "
        f"{other.step:,}, the {other_name}, has {other.number:.4f}"
    )


def save(trained: LoadedModel, options: RunOptions, kept: Kept) -> None:
    """Writes the model folder, and removes scores of another step's model.

    Args:
        trained: the model, with the weights that were kept.
        options: of the run.
        kept: which those are.
    Raises: ValueError if something else is where a folder belongs; OSError.
    """
    if kept_scores(options).get("step", kept.step) != kept.step:
        (pathlib.Path(options.output_dir) / EVALUATION_FILE).unlink()
    _save(options.model_folder, trained)
    of_step = f", {kept.line}" if kept.line else ""
    print(f"{options.model_folder}: the trained model{of_step}", flush=True)


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
