# SPDX-License-Identifier: Apache-2.0
"""The training loop of the commands, on one device or several replicas."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kbert import atomic_files
from kbert.training import replicas, throughput
from kbert.training.callbacks import Callback
from kbert.training.checkpoints import CHECKPOINTS_FOLDER, Checkpoints
from kbert.training.config import TrainConfig
from kbert.training.early_stopping import EarlyStopping, Scorer
from kbert.training.gradients import Gradients
from kbert.training.history import History, ValidationPoint
from kbert.training.optimizer import AdamW
from kbert.training.throughput import Throughput, Work

Losses = Mapping[str, keras.losses.Loss]
Metrics = Mapping[str, list[keras.metrics.Metric]]

# At most this much is trained until processes ask each other whether to stop.
_STOP_STEPS, _STOP_SECONDS = 10, 5.0


class Trainer:
    """A model, its losses and its optimizer, and one step of training.

    All of them are made in the scope of the same strategy. The gradients are
    averaged over the replicas before they are clipped. Keras's
    `global_clipnorm` would clip on each replica before that: leave it unset
    in the optimizer.

    Args:
        model: takes a dict of inputs and returns a dict of outputs.
        losses: one for each output. The sum of their means is minimized, each
            the mean of the weighted elements.
        metrics: a list for each output.
        optimizer: AdamW, or a LossScaleOptimizer around one.
        clip_norm: the largest global norm of the gradients.
        accumulate_steps: the number of parts in which a replica computes its
            rows, to need less memory; see `Gradients`. The step equals that of
            the whole batch but for dropout's masks.
        xla: whether XLA compiles the step; for one replica only.
        on_final_weights: is called by `finish` and `final_weights`, to copy
            weights to a model that shares only some of this one's.
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
        on_final_weights: Callable[[], None] = lambda: None,
    ):
        replicas.vary_dropout(model)
        self.model = model
        self.optimizer = optimizer
        self.means = RunningMeans(losses, metrics)
        self._clip_norm = clip_norm
        self._strategy = tf.distribute.get_strategy()
        self._variables = [v.value for v in model.trainable_variables]
        self._mean_gradients = Gradients(
            model,
            losses,
            loss=self._loss,
            scale_loss=optimizer.scale_loss,
            parts=accumulate_steps,
        )
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._nonfinite_step = tf.Variable(0, dtype=tf.int64, trainable=False)
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
        self._on_final_weights = on_final_weights
        if xla:
            self._replica_step = tf.function(
                self._replica_step,
                autograph=False,
                jit_compile=True,
                reduce_retracing=True,
            )

    @tf.function(autograph=False, reduce_retracing=True)
    def train_step(self, batch) -> None:
        """One update from a batch: (inputs, labels) or with weights."""
        self._strategy.run(self._replica_step, args=(batch,))
        self.step.assign_add(1)

    def _replica_step(self, batch):
        inputs, _, weights = keras.utils.unpack_x_y_sample_weight(batch)
        self._work.assign_add(throughput.counted(inputs, weights or {}))
        loss, *gradients = self._reduce(self._mean_gradients(batch))
        scale = getattr(self.optimizer, "dynamic_scale", None)
        times = 1.0 if scale is None else tf.convert_to_tensor(scale)
        gradients, norm = tf.clip_by_global_norm(
            gradients, self._clip_norm * times
        )
        self._norm.assign(norm / times)
        self._rate.assign(tf.cast(self.optimizer.learning_rate, tf.float32))
        # Scaled gradients may overflow: the optimizer then skips the step.
        number = loss if scale is not None else loss + norm
        is_first = ~tf.math.is_finite(number) & (self._nonfinite_step == 0)
        self._nonfinite_step.assign(
            tf.where(is_first, self.step + 1, self._nonfinite_step)
        )
        self.optimizer.apply(gradients, self.model.trainable_variables)

    def _loss(self, outputs, labels, weights):
        """The loss to minimize; it counts in the means."""
        values = self.means.loss_values(outputs, labels)
        self.means.update(values, outputs, labels, weights)
        return sum(
            tf.reduce_mean(value * weights.get(name, 1.0))
            for name, value in values.items()
        )

    def _reduce(self, values):
        """Means over the replicas, which have equally many rows."""
        if self._strategy.num_replicas_in_sync == 1:
            return values
        return tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.MEAN, values
        )

    @property
    def first_nonfinite_step(self) -> int:
        """The first step whose loss or gradient was not finite; 0 if none."""
        return int(self._nonfinite_step.numpy())

    def last_step(self) -> dict[str, float]:
        """Returns values of the last step, for logs.

        Returns: learning_rate, of the heads; and gradient_norm, the global
            norm before clipping.
        """
        return {
            "learning_rate": float(self._rate.numpy()),
            "gradient_norm": float(self._norm.numpy()),
        }

    def take_work(self) -> Work:
        """Returns the Work of all replicas since the last call."""
        work = Work(*tf.convert_to_tensor(self._work).numpy().tolist())
        self._work.assign(tf.zeros(len(work)))
        return work

    @contextlib.contextmanager
    def final_weights(self) -> Iterator[None]:
        """A context in which the model has the weights it would be saved with.

        These are the moving averages if the optimizer has them. What
        `on_final_weights` copies is not undone at the end.
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
        """Makes the moving averages, if there are any, the weights."""
        self.optimizer.finalize_variable_values(self.model.trainable_variables)
        self._on_final_weights()

    def state(self) -> dict[str, list[tf.Variable]]:
        """All variables of a resumed run, including dropout's seed states."""
        return {
            "model": [v.value for v in self.model.variables],
            "optimizer": [v.value for v in self.optimizer.variables],
            "step": [self.step],
        }


class RunningMeans:
    """Means of the losses and metrics since they were last read."""

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


@dataclasses.dataclass(frozen=True)
class FitResult:
    """The end of a run, or of the part of it that this process trained.

    Attributes:
        step: the number of steps that are done.
        stopped: whether a callback stopped it.
        points: the validation scores of all steps, on the chief.
        checkpoints: of the run.
    """

    step: int
    stopped: bool
    points: Sequence[ValidationPoint] = ()
    checkpoints: Checkpoints | None = None


def fit(
    trainer: Trainer,
    batches_from: Callable[[int], tf.data.Dataset],
    *,
    steps: int,
    config: TrainConfig,
    scorer: Scorer | None = None,
    throughput: Throughput | None = None,
    callback: Callback = Callback(),  # noqa: B008 -- it has no state
) -> FitResult:
    """Trains up to a number of steps, from the last checkpoint if any.

    Writes checkpoints/, tensorboard/ and history.jsonl into output_dir; with
    several processes only the chief does. A step's checkpoint is written
    before it is scored, so a run that is killed while it scores loses no step:
    the next process starts with that score.

    Args:
        trainer: made in the current strategy's scope.
        batches_from: returns the endless batches after a number of steps, so
            that a resumed run has the batches of an uninterrupted one. Their
            rows are a multiple of the replicas times accumulate_steps.
        steps: of the whole run, including those that are done.
        config: output_dir, intervals, patience and kept checkpoints.
        scorer: computes validation scores every eval_every steps and after
            the last one; None for no scores. Only the chief calls it.
        throughput: measures the speed for the logs; or None.
        callback: is called as the run proceeds.
    Raises: ValueError if the checkpoint is another model's, or if a loss is
        not finite, whose batch is then in lost_batch.npz; OSError.
    """
    checkpoints = Checkpoints(
        pathlib.Path(config.output_dir) / CHECKPOINTS_FOLDER,
        trainer.state(),
        keep=config.keep_checkpoints,
        on_message=callback.on_message,
    )
    checkpoints.restore()
    done = int(trainer.step.numpy())
    _check_same_step(done)
    if done >= steps:
        callback.on_message(
            f"{config.output_dir}: {done:,} of {steps:,} steps are done "
            "already."
        )
    elif done:
        callback.on_message(
            f"{config.output_dir}: resumed from step {done:,} of {steps:,}."
        )
    log = History(config.output_dir, done)
    stopping = EarlyStopping(
        log,
        checkpoints,
        scorer,
        final_weights=trainer.final_weights,
        config=config,
        steps=steps,
        callback=callback,
    )
    stopping.score(done)
    stopped = False
    if done < steps and not stopping.is_over():
        stopped = _Run(
            trainer=trainer,
            batches_from=batches_from,
            steps=steps,
            config=config,
            log=log,
            checkpoints=checkpoints,
            stopping=stopping,
            throughput=throughput,
            callback=callback,
        ).train()
    done = int(trainer.step.numpy())
    callback.on_train_end(done)
    return FitResult(done, stopped, log.points, checkpoints)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """A run with steps left to train."""

    trainer: Trainer
    batches_from: Callable[[int], tf.data.Dataset]
    steps: int
    config: TrainConfig
    log: History
    checkpoints: Checkpoints
    stopping: EarlyStopping
    throughput: Throughput | None
    callback: Callback

    def train(self) -> bool:
        """Trains until the last step, or until there is a reason to end.

        Returns: whether a callback stopped it.
        """
        done = int(self.trainer.step.numpy())
        self.callback.on_train_begin(done)
        batches = replicas.parts_of(self.batches_from(done))
        # One graph for all lengths, not a second one after the first batch's.
        self.trainer.train_step.get_concrete_function(batches.element_spec)
        should_stop = _StopSign(self.callback, done)
        for step, batch in zip(
            range(done + 1, self.steps + 1), batches, strict=False
        ):
            self.trainer.train_step(batch)
            self.callback.on_step_end(step)
            stopped = step < self.steps and should_stop(step)
            is_due = self.stopping.is_due(step)
            self._log_and_save(step, stopped or step == self.steps, is_due)
            if self.throughput and step == done + 1:
                self.throughput.start()  # the first step also compiles
            if stopped:
                return True
            if is_due and self._score(step):
                return False
        return False

    def _log_and_save(self, step, is_last, is_due):
        may_end = is_last or (is_due and self.config.patience)
        is_log = may_end or step % self.config.log_every == 0
        is_save = is_last or is_due or step % self.config.save_every == 0
        if (is_log or is_save) and self.trainer.first_nonfinite_step:
            self._stop_nonfinite(self.trainer.first_nonfinite_step)
        if is_log:
            values = self.trainer.means.take() | self.trainer.last_step()
            if self.throughput:
                values |= self.throughput.take()
            self.log.log(step, values)
            self.callback.on_log(step, values)
        if is_save:
            self.checkpoints.save(step)

    def _score(self, step):
        """Scores a step that is due; whether the run is over."""
        seconds = self.stopping.score(step)
        if self.throughput:
            self.throughput.skip(seconds)
        return step < self.steps and self.stopping.is_over()

    def _stop_nonfinite(self, step):
        path = pathlib.Path(self.config.output_dir) / "lost_batch.npz"
        if tf.distribute.get_strategy().extended.should_checkpoint:
            parts = zip(
                ("inputs", "labels", "weights"),
                next(iter(self.batches_from(step - 1))),
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
            f"The loss or its gradient is not finite at step {step}, whose "
            f"batch is in {path}; try a lower --learning_rate."
        )


def _check_same_step(done):
    if replicas.means_over_processes(done) != (done,):
        raise ValueError(
            f"This worker resumes from step {done}, others do not; needs an "
            "--output_dir that all workers see."
        )


class _StopSign:
    """Decides whether to end after a step.

    Several processes decide together, as none may stop alone. They do so every
    few steps, and agree on the next step at which they do it.
    """

    def __init__(self, callback, done):
        self._callback = callback
        self._last_step, self._next_step = done, done + 1
        self._last_time = time.monotonic()

    def __call__(self, step):
        if not replicas.several_processes():
            return self._callback.should_stop()
        if step < self._next_step:
            return False
        now = time.monotonic()
        pace = (now - self._last_time) / (step - self._last_step)
        stop, pace = replicas.means_over_processes(
            self._callback.should_stop(), pace
        )
        steps = int(min(_STOP_STEPS, _STOP_SECONDS / max(pace, 1e-9)))
        self._last_time, self._last_step = now, step
        self._next_step = step + max(1, steps)
        return stop > 0


class Evaluation:
    """Losses and metrics of a model over batches, without training.

    It can be called many times and is traced once. Each label whose weight is
    not 0 counts as one, so the result does not depend on the batch size.

    An Evaluation made outside of a strategy's scope runs in one process, and
    may be called in the scope.
    """

    def __init__(self, model: keras.Model, *, losses: Losses, metrics: Metrics):
        self._model = model
        self._means = RunningMeans(losses, metrics)

    def __call__(self, batches: Iterable) -> dict[str, float]:
        """The means over all batches, by the names of `RunningMeans.take`."""
        for batch in batches:
            self._step(batch)
        return self._means.take()

    @tf.function(autograph=False, reduce_retracing=True)
    def _step(self, batch):
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        counted = {
            name: tf.cast(weight != 0, tf.float32)
            for name, weight in (weights or {}).items()
        }
        outputs = self._model(inputs, training=False)
        values = self._means.loss_values(outputs, labels)
        self._means.update(values, outputs, labels, counted)


def evaluate(
    model: keras.Model,
    batches: Iterable,
    *,
    losses: Losses,
    metrics: Metrics,
) -> dict[str, float]:
    """An Evaluation that is made once."""
    return Evaluation(model, losses=losses, metrics=metrics)(batches)
