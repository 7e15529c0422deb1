# SPDX-License-Identifier: Apache-2.0
"""The commands' own training loop, on one device or several replicas."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kbert import atomic_files
from kbert.training import replicas, throughput
from kbert.training.checkpoints import CHECKPOINTS_FOLDER, Checkpoints
from kbert.training.history import History
from kbert.training.judging import Judge
from kbert.training.optimizer import AdamW
from kbert.training.plan import HeldOut, Plan, Watcher
from kbert.training.throughput import Work

Losses = Mapping[str, keras.losses.Loss]
Metrics = Mapping[str, list[keras.metrics.Metric]]

# How long processes go on, at most, before they ask each other to stop.
_STOP_STEPS, _STOP_SECONDS = 10, 5.0


class Trainer:
    """A model, its losses and its optimizer, and one step of training.

    Everything is made under the same strategy's scope. The gradients are
    the mean over the replicas, and are clipped after that: Keras's
    `global_clipnorm` clips on each replica before they are summed, so leave
    it unset in the optimizer given here.

    Args:
        model: takes a dict of inputs, gives a dict of outputs.
        losses: one for each output; the sum of the means of all is
            minimized, each over its elements times their weights.
        metrics: some for each output.
        optimizer: AdamW, or a LossScaleOptimizer around one.
        clip_norm: longest global norm of the gradients.
        accumulate_steps: parts in which a replica takes its rows, for their
            activations to fit into memory. They have equal weight: the step
            is that of the whole batch, and dropout's masks alone differ.
        xla: whether XLA compiles the step of a replica, of which there may
            then be one alone.
        give_back: is called by `finish` and `as_trained`, for another model
            that takes weights from this one.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        losses: Losses,
        metrics: Metrics,
        optimizer: AdamW | keras.optimizers.LossScaleOptimizer,
        clip_norm: float = 1.0,
        accumulate_steps: int = 1,
        xla: bool = False,
        give_back: Callable[[], None] = lambda: None,
    ):
        replicas.vary_dropout(model)
        self.model = model
        self.optimizer = optimizer
        self.scores = Scores(losses, metrics)
        self._clip_norm = clip_norm
        self._parts = accumulate_steps
        self._strategy = tf.distribute.get_strategy()
        self._variables = [v.value for v in model.trainable_variables]
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._lost_at = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._rate = tf.Variable(0.0, trainable=False)
        self._norm = tf.Variable(0.0, trainable=False)
        self._work = tf.Variable(
            tf.zeros(len(Work._fields)),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )
        optimizer.build(model.trainable_variables)
        # `_reduce` does it, which it must before the gradients are clipped.
        if not isinstance(optimizer, AdamW):
            optimizer = optimizer.inner_optimizer
        optimizer.sums_over_replicas = False
        self._has_averages = optimizer.use_ema
        self._give_back = give_back
        if xla:
            self._replica_step = tf.function(
                self._replica_step, jit_compile=True, reduce_retracing=True
            )

    @tf.function(reduce_retracing=True)
    def train_step(self, batch) -> None:
        """One update from a batch: (inputs, labels) or with weights."""
        self._strategy.run(self._replica_step, args=(batch,))
        self.step.assign_add(1)

    def _replica_step(self, batch):
        loss, *gradients = self._reduce(self._mean_gradients(batch))
        scale = getattr(self.optimizer, "dynamic_scale", None)
        times = 1.0 if scale is None else tf.convert_to_tensor(scale)
        gradients, norm = tf.clip_by_global_norm(
            gradients, self._clip_norm * times
        )
        self._norm.assign(norm / times)
        self._rate.assign(tf.cast(self.optimizer.learning_rate, tf.float32))
        # Scaled gradients may overflow; then the step is skipped.
        number = loss if scale is not None else loss + norm
        is_lost = ~tf.math.is_finite(number) & (self._lost_at == 0)
        self._lost_at.assign(tf.where(is_lost, self.step + 1, self._lost_at))
        self.optimizer.apply(gradients, self.model.trainable_variables)

    def _mean_gradients(self, batch):
        """The loss and its gradients, of the rows of this replica."""
        if self._parts == 1:
            return self._gradients(batch)
        batch = tf.nest.map_structure(
            lambda rows: replicas.split(rows, self._parts), batch
        )

        def add(index, *sums):
            part = tf.nest.map_structure(lambda rows: rows[index], batch)
            pairs = zip(sums, self._gradients(part), strict=True)
            return index + 1, *(total + value for total, value in pairs)

        zeros = [tf.zeros_like(variable) for variable in self._variables]
        _, *sums = tf.while_loop(
            lambda index, *_: index < self._parts,
            add,
            (0, tf.constant(0.0), *zeros),
            parallel_iterations=1,
        )
        return [total / self._parts for total in sums]

    def _gradients(self, batch):
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        weights = weights or {}
        with tf.GradientTape() as tape:
            outputs = self.model(inputs, training=True)
            values = self.scores.loss_values(outputs, labels)
            total = sum(
                tf.reduce_mean(value * weights.get(name, 1.0))
                for name, value in values.items()
            )
            scaled = self.optimizer.scale_loss(total)
        gradients = tape.gradient(scaled, self._variables)
        self.scores.update(values, outputs, labels, weights)
        self._work.assign_add(throughput.counted(inputs, weights))
        # A token table without a tied output has a sparse gradient, but
        # Adam moves all its rows.
        return [total, *(tf.convert_to_tensor(g) for g in gradients)]

    def _reduce(self, values):
        """Means over the replicas, which have equally many rows."""
        if self._strategy.num_replicas_in_sync == 1:
            return values
        return tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.MEAN, values
        )

    @property
    def lost_at(self) -> int:
        """The first step whose loss or gradient was not finite; 0 if none."""
        return int(self._lost_at.numpy())

    def last_step(self) -> dict[str, float]:
        """What the last step had, for logs.

        Returns: learning_rate, that of the heads; and gradient_norm, of all
            gradients together, before they were clipped.
        """
        return {
            "learning_rate": float(self._rate.numpy()),
            "gradient_norm": float(self._norm.numpy()),
        }

    def take_work(self) -> Work:
        """What all replicas were trained on since this was last called."""
        work = Work(*tf.convert_to_tensor(self._work).numpy().tolist())
        self._work.assign(tf.zeros(len(work)))
        return work

    @contextlib.contextmanager
    def as_trained(self) -> Iterator[None]:
        """While it lasts, the model has the weights that it would end with.

        They are the moving averages, if the optimizer keeps such. A model
        that they are given back to keeps them.
        """
        if not self._has_averages:
            self.finish()
            yield
            return
        kept = [tf.identity(variable) for variable in self._variables]
        self.finish()
        try:
            yield
        finally:
            for variable, value in zip(self._variables, kept, strict=True):
                variable.assign(value)

    def finish(self) -> None:
        """Makes the averages, if any, the weights, and gives them back."""
        self.optimizer.finalize_variable_values(self.model.trainable_variables)
        self._give_back()

    def state(self) -> dict[str, list[tf.Variable]]:
        """All that a resumed run needs, dropout's seed states included."""
        return {
            "model": [v.value for v in self.model.variables],
            "optimizer": [v.value for v in self.optimizer.variables],
            "step": [self.step],
        }


class Scores:
    """Means of the losses and metrics since they were last taken."""

    def __init__(self, losses: Losses, metrics: Metrics):
        self._losses = losses
        self._metrics = metrics
        self._means = {name: keras.metrics.Mean() for name in losses}

    def loss_values(self, outputs, labels) -> dict[str, tf.Tensor]:
        """The loss of each element of each output, without weights."""
        return {
            name: loss.call(labels[name], outputs[name])
            for name, loss in self._losses.items()
        }

    def update(self, values, outputs, labels, weights) -> None:
        """Adds a batch and its loss values; elements count by their weight."""
        for name, value in values.items():
            weight = weights.get(name)
            self._means[name].update_state(value, sample_weight=weight)
            for metric in self._metrics[name]:
                metric.update_state(labels[name], outputs[name], weight)

    def take(self) -> dict[str, float]:
        """{"<output>_loss": ..., "<output>_<metric>": ...}, then resets."""
        values = {}
        for name, mean in self._means.items():
            output = name.removesuffix("logits").removesuffix("_")
            for key, metric in self._named(output, mean, name):
                values[key] = float(metric.result())
                metric.reset_state()
        return values

    def _named(self, output, mean, name):
        prefix = f"{output}_" if output else ""
        yield f"{prefix}loss", mean
        for metric in self._metrics[name]:
            yield f"{prefix}{metric.name}", metric


class Ended(NamedTuple):
    """How far a run came, and whether the watcher wanted it to stop there."""

    step: int
    stopped: bool


_SILENT = Watcher()


def fit(
    trainer: Trainer,
    batches_from: Callable[[int], tf.data.Dataset],
    plan: Plan,
    watcher: Watcher = _SILENT,
    held_out: HeldOut | None = None,
) -> Ended:
    """Trains up to a number of steps, from the last checkpoint if any.

    Writes into output_dir: checkpoints/, tensorboard/ and history.jsonl; of
    several processes the chief alone does. A step has its checkpoint before
    it is scored, so that what ends the run meanwhile costs no step: the score
    is then the first thing that the next process makes.

    Args:
        trainer: what to train, made under the current strategy.
        batches_from: gives the batches that follow so many steps, endless;
            a resumed run so sees what the uninterrupted one would have.
            The replicas times the trainer's accumulate_steps divide them.
        plan: how long.
        watcher: is told and asked.
        held_out: how to score; of several processes the chief alone does.
    Returns: the steps that are done; fewer than the plan's if the watcher
        wanted to stop, or if the plan's patience came to its end.
    Raises: ValueError if the checkpoint there is of another model, or if a
        loss is not finite, whose batch is then in lost_batch.npz; OSError.
    """
    checkpoints = _checkpoints(trainer, plan, watcher.say)
    checkpoints.restore()
    done = int(trainer.step.numpy())
    _check_same_step(done)
    if done >= plan.steps:
        watcher.say(
            f"{plan.output_dir}: {done:,} of {plan.steps:,} steps are done "
            "already."
        )
    elif done:
        watcher.say(
            f"{plan.output_dir}: resumed from step {done:,} of {plan.steps:,}."
        )
    told = History(plan.output_dir, done)
    judge = Judge(
        told, checkpoints, held_out, trainer.as_trained, plan, watcher
    )
    judge(done)
    if done >= plan.steps or judge.is_over():
        return Ended(done, stopped=False)
    return _train(
        trainer, batches_from, plan, watcher, judge, told, checkpoints
    )


def _train(trainer, batches_from, plan, watcher, judge, told, checkpoints):
    """The steps that are left, or those until a reason to end."""
    done = int(trainer.step.numpy())
    watcher.begins(done)
    batches = replicas.parts_of(batches_from(done))
    # One graph for batches of all lengths, not another for the first batch's.
    trainer.train_step.get_concrete_function(batches.element_spec)
    pace = _Pace(trainer, watcher)
    should_stop, stop = _StopSign(watcher, done), False
    for step, batch in zip(
        range(done + 1, plan.steps + 1), batches, strict=False
    ):
        trainer.train_step(batch)
        watcher.tick(step)
        stop = step < plan.steps and should_stop(step)
        last, is_due = stop or step == plan.steps, judge.is_due(step)
        may_end = last or (is_due and plan.patience)
        is_log = may_end or step % plan.log_every == 0
        is_save = last or is_due or step % plan.save_every == 0
        if (is_log or is_save) and trainer.lost_at:
            _stop_lost(trainer.lost_at, batches_from, plan.output_dir)
        if is_log:
            values = trainer.scores.take() | trainer.last_step() | pace.take()
            _log(step, values, told, watcher)
        if is_save:
            checkpoints.save(step)
        if step == done + 1:
            pace.begin()
        if stop:
            break
        pace.skip(judge(step))
        if is_due and not last and judge.is_over():
            break
    return Ended(int(trainer.step.numpy()), stop)


def restore(
    trainer: Trainer, plan: Plan, step: int, say: Callable[[str], object]
) -> bool:
    """Takes up the checkpoint of a step that was kept.

    Returns: whether it is whole; if not, a line is said, and the trainer is
        of no more use.
    """
    return _checkpoints(trainer, plan, say).restore_step(step)


def _checkpoints(trainer, plan, say):
    return Checkpoints(
        pathlib.Path(plan.output_dir) / CHECKPOINTS_FOLDER,
        trainer.state(),
        keep=plan.keep_checkpoints,
        say=say,
    )


def _check_same_step(done):
    if replicas.means_over_processes(done) != (done,):
        raise ValueError(
            f"This worker goes on from step {done}, others do not; wanted an "
            "--output_dir that all workers see."
        )


class _StopSign:
    """Tells whether to end after a step.

    Several processes agree on it, now and then, as none may stop alone; and
    on the step at which they do so again.
    """

    def __init__(self, watcher, done):
        self._watcher = watcher
        self._last_step, self._next_step = done, done + 1
        self._last_time = time.monotonic()

    def __call__(self, step):
        if not replicas.several_processes():
            return self._watcher.should_stop()
        if step < self._next_step:
            return False
        now = time.monotonic()
        pace = (now - self._last_time) / (step - self._last_step)
        stop, pace = replicas.means_over_processes(
            self._watcher.should_stop(), pace
        )
        steps = int(min(_STOP_STEPS, _STOP_SECONDS / max(pace, 1e-9)))
        self._last_time, self._last_step = now, step
        self._next_step = step + max(1, steps)
        return stop > 0


def _log(step, values, told, watcher):
    told.log(step, values)
    watcher.report(step, values)


def _stop_lost(step, batches_from, output_dir):
    output = pathlib.Path(output_dir)
    path = output / "lost_batch.npz"
    if tf.distribute.get_strategy().extended.should_checkpoint:
        parts = zip(
            ("inputs", "labels", "weights"),
            next(iter(batches_from(step - 1))),
            strict=False,
        )
        arrays = {
            f"{part}.{name}": tensor.numpy()
            for part, tensors in parts
            for name, tensor in tensors.items()
        }
        with atomic_files.writing_file(path) as new:
            np.savez(new, **arrays)
    raise ValueError(
        f"The loss or its gradient is not finite at step {step}, whose batch "
        f"is in {path}; try a lower --learning_rate."
    )


class _Pace:
    """What was done since the last log, and in which time."""

    def __init__(self, trainer, watcher):
        self._trainer = trainer
        self._measure = watcher.measure
        self._began = None

    def begin(self):
        """Once the first step is done, which also compiles."""
        self._trainer.take_work()
        self._began = time.monotonic()

    def take(self):
        if self._began is None:
            return {}
        work, now = self._trainer.take_work(), time.monotonic()
        seconds, self._began = now - self._began, now
        return self._measure(work, seconds)

    def skip(self, seconds):
        """Leaves out what was no training, which is done by now."""
        if self._began is not None:
            self._began += seconds


class Evaluation:
    """Losses and metrics of a model over batches, without training.

    It can be called again and again, and is traced once. A label counts in
    full where its weight is not 0, so that the result does not depend on how
    rows are batched.

    Made outside of a strategy's scope, it is for one process alone, and may
    be called within the scope.
    """

    def __init__(self, model: keras.Model, *, losses: Losses, metrics: Metrics):
        self._model = model
        self._scores = Scores(losses, metrics)

    def __call__(self, batches: Iterable) -> dict[str, float]:
        """The means over all batches, by the names of `Scores.take`."""
        for batch in batches:
            self._step(batch)
        return self._scores.take()

    @tf.function(reduce_retracing=True)
    def _step(self, batch):
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        counted = {
            name: tf.cast(weight != 0, tf.float32)
            for name, weight in (weights or {}).items()
        }
        outputs = self._model(inputs, training=False)
        values = self._scores.loss_values(outputs, labels)
        self._scores.update(values, outputs, labels, counted)


def evaluate(
    model: keras.Model,
    batches: Iterable,
    *,
    losses: Losses,
    metrics: Metrics,
) -> dict[str, float]:
    """An Evaluation that is made once."""
    return Evaluation(model, losses=losses, metrics=metrics)(batches)
