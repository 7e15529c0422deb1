# SPDX-License-Identifier: Apache-2.0
"""The commands' own training loop, on one device or several replicas."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping

import keras
import tensorflow as tf

from kbert.training.optimizer import AdamW

Losses = Mapping[str, keras.losses.Loss]
Metrics = Mapping[str, list[keras.metrics.Metric]]
Report = Callable[[int, dict[str, float]], None]  # step, what was measured

HISTORY_FILE = "history.jsonl"  # {"step": ..., "<name>": ...}, a line a log
_CHECKPOINTS_KEPT = 2


def strategy() -> tf.distribute.Strategy:
    """MirroredStrategy over all visible GPUs; without any, one device."""
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


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
        xla: whether XLA compiles the step of a replica, of which there may
            then be one alone.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        losses: Losses,
        metrics: Metrics,
        optimizer: AdamW | keras.optimizers.LossScaleOptimizer,
        clip_norm: float = 1.0,
        xla: bool = False,
    ):
        self.model = model
        self.optimizer = optimizer
        self.scores = Scores(losses, metrics)
        self._clip_norm = clip_norm
        self._strategy = tf.distribute.get_strategy()
        self._variables = [v.value for v in model.trainable_variables]
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        optimizer.build(model.trainable_variables)
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
        self.optimizer.apply(
            self._clip(gradients), self.model.trainable_variables
        )
        self.scores.update(values, outputs, labels, weights)

    def _clip(self, gradients):
        replicas = self._strategy.num_replicas_in_sync
        # A token table without a tied output has a sparse gradient, but
        # Adam moves all its rows.
        gradients = [tf.convert_to_tensor(g) for g in gradients]
        if replicas > 1:
            gradients = tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.MEAN, gradients
            )
        scale = getattr(self.optimizer, "dynamic_scale", 1.0)
        longest = self._clip_norm * tf.convert_to_tensor(scale)
        gradients, _ = tf.clip_by_global_norm(gradients, longest)
        if replicas == 1:
            return gradients
        # `apply` will sum over the replicas what is equal on all of them.
        return [gradient / replicas for gradient in gradients]

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


def fit(
    trainer: Trainer,
    batches_from: Callable[[int], tf.data.Dataset],
    *,
    steps: int,
    output_dir: str | os.PathLike,
    log_every: int,
    save_every: int,
    report: Report,
    tick: Callable[[int], object],
) -> None:
    """Trains up to a number of steps, from the last checkpoint if any.

    Writes into output_dir: checkpoints/, tensorboard/ and history.jsonl.

    Args:
        trainer: what to train.
        batches_from: gives the batches that follow so many steps; a resumed
            run so sees what the uninterrupted one would have.
        steps: of the whole run, those of earlier processes counted.
        output_dir: folder of the run; it is made when missing.
        log_every: steps between two logs, the last step always among them.
        save_every: steps between two checkpoints, likewise.
        report: called after each log with what stands in history.jsonl.
        tick: called with the number of each step when it is done.
    Raises: ValueError if the checkpoint there is of another model, or if
        the loss is not finite; OSError.
    """
    output = pathlib.Path(output_dir)
    manager = _restore(trainer, output / "checkpoints")
    done = int(trainer.step)
    logger = _Logger(output, done)
    replicas = tf.distribute.get_strategy()
    batches = replicas.experimental_distribute_dataset(batches_from(done))
    # One graph for batches of all lengths, not another for the first batch's.
    trainer.train_step.get_concrete_function(batches.element_spec)
    steps_left = range(done + 1, steps + 1)
    for step, batch in zip(steps_left, batches, strict=False):
        trainer.train_step(batch)
        tick(step)
        if step % log_every == 0 or step == steps:
            values = trainer.scores.take()
            logger.log(step, values)
            report(step, values)
        if step % save_every == 0 or step == steps:
            manager.save(step)


def _restore(trainer, folder):
    checkpoint = tf.train.Checkpoint(**trainer.state())
    manager = tf.train.CheckpointManager(
        checkpoint, str(folder), max_to_keep=_CHECKPOINTS_KEPT
    )
    if manager.latest_checkpoint:
        try:
            status = checkpoint.restore(manager.latest_checkpoint)
            status.assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise ValueError(
                f"{manager.latest_checkpoint}: not a checkpoint of this run "
                f"({_first_line(error)}); wanted the flags it began with, or "
                "another --output_dir."
            ) from None
    return manager


def _first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0]


class _Logger:
    """TensorBoard events and history.jsonl, without lines of lost steps."""

    def __init__(self, output, done):
        output.mkdir(parents=True, exist_ok=True)
        self._path = output / HISTORY_FILE
        lines = []
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= done]
        text = "".join(f"{line}\n" for line in kept)
        self._path.write_text(text, encoding="utf-8")
        self._writer = tf.summary.create_file_writer(
            str(output / "tensorboard")
        )

    def log(self, step, values):
        for name, value in values.items():
            if not math.isfinite(value):
                raise ValueError(
                    f"{name} is {value} at step {step}; wanted a finite "
                    "number: try a lower --learning_rate."
                )
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)
        self._writer.flush()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def evaluate(
    model: keras.Model,
    batches: Iterable,
    *,
    losses: Losses,
    metrics: Metrics,
) -> dict[str, float]:
    """Losses and metrics of a model over batches, without training.

    A label counts in full where its weight is not 0, so that the result
    does not depend on how rows are batched.
    """
    scores = Scores(losses, metrics)

    @tf.function(reduce_retracing=True)
    def step(batch):
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        counted = {
            name: tf.cast(weight != 0, tf.float32)
            for name, weight in (weights or {}).items()
        }
        outputs = model(inputs, training=False)
        values = scores.loss_values(outputs, labels)
        scores.update(values, outputs, labels, counted)

    for batch in batches:
        step(batch)
    return scores.take()
