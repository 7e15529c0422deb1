# SPDX-License-Identifier: Apache-2.0
"""The gradients of a step: of all rows at once, or of parts to save memory."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from kbert.training import replicas


class Gradients:
    """Computes the mean loss of a replica's rows, and its gradients.

    Call: a batch, (inputs, labels) or with weights -> the loss, and its
        gradient by each trainable variable; with a loss scale the gradients
        are scaled.

    With several parts, only one part's activations are in memory at a time.
    The gradients equal those of all rows at once, with two ways to them:

    - The loss of a row is that row's alone: the parts' gradients are averaged.
      As they have equal weight, so are their losses.
    - The loss compares rows with each other (its attribute `compares_rows` is
      true), those of all replicas: it is computed from the outputs of all
      rows, as is its gradient by these outputs. Then each part goes through
      the model again, with the dropout masks of before, to carry that
      gradient on to the weights (Gao et al. 2021, arXiv:2101.06983, section
      3.1).

    Args:
        model: takes a dict of inputs and returns a dict of outputs.
        losses: of its outputs.
        loss: a function, of outputs, labels and weights by name, to the loss.
        scale_loss: multiplies the loss before its gradients are taken.
        parts: how many.
    """

    def __init__(
        self,
        model: keras.Model,
        losses: Mapping[str, keras.losses.Loss],
        *,
        loss: Callable[[Any, Any, Any], tf.Tensor],
        scale_loss: Callable[[tf.Tensor], tf.Tensor],
        parts: int,
    ):
        self._model = model
        self._loss, self._scale_loss, self._parts = loss, scale_loss, parts
        self._variables = [v.value for v in model.trainable_variables]
        self._seeds = [seed.value for seed in replicas.dropout_seeds(model)]
        self._compares_rows = any(
            getattr(loss, "compares_rows", False) for loss in losses.values()
        )

    def __call__(self, batch: tuple) -> list[tf.Tensor]:
        if self._compares_rows:
            return self._of_compared_rows(batch)
        if self._parts == 1:
            return self._of_rows(batch)
        sums = self._sums(
            lambda part: self._of_rows(part),
            _split(batch, self._parts),
            [tf.constant(0.0), *map(tf.zeros_like, self._variables)],
        )
        return [total / self._parts for total in sums]

    def _of_rows(self, batch):
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        with tf.GradientTape() as tape:
            outputs = self._model(inputs, training=True)
            loss = self._loss(outputs, labels, weights or {})
            scaled = self._scale_loss(loss)
        return [loss, *_dense(tape.gradient(scaled, self._variables))]

    def _of_compared_rows(self, batch):
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        if self._parts == 1:
            with tf.GradientTape() as tape:
                outputs = self._model(inputs, training=True)
            loss, slopes = self._slopes(outputs, labels, weights or {})
            gradients = tape.gradient(outputs, self._variables, slopes)
            return [loss, *_dense(gradients)]
        inputs = _split(inputs, self._parts)
        seeds = [tf.identity(seed) for seed in self._seeds]
        outputs = tf.map_fn(
            lambda part: self._model(part, training=True),
            inputs,
            parallel_iterations=1,
            fn_output_signature=dict.fromkeys(self._model.output, tf.float32),
        )
        outputs = tf.nest.map_structure(_joined, outputs)
        loss, slopes = self._slopes(outputs, labels, weights or {})
        for seed, before in zip(self._seeds, seeds, strict=True):
            seed.assign(before)

        def carry_on(part):
            rows, slopes = part
            with tf.GradientTape() as tape:
                outputs = self._model(rows, training=True)
            return _dense(tape.gradient(outputs, self._variables, slopes))

        zeros = [*map(tf.zeros_like, self._variables)]
        parts = (inputs, _split(slopes, self._parts))
        return [loss, *self._sums(carry_on, parts, zeros)]

    def _slopes(self, outputs, labels, weights):
        """The loss of all replicas' rows, and its gradient by these outputs."""
        context = tf.distribute.get_replica_context()
        count = context.num_replicas_in_sync
        own = outputs
        if count > 1:
            outputs, labels, weights = tf.nest.map_structure(
                lambda rows: context.all_gather(rows, axis=0),
                (outputs, labels, weights),
            )
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            loss = self._loss(outputs, labels, weights)
            scaled = self._scale_loss(loss)
        slopes = tape.gradient(scaled, outputs)
        if count == 1:
            return loss, slopes
        index = context.replica_id_in_sync_group

        def of_own(slopes, rows):
            start = index * tf.shape(rows)[0]
            # The sum over replicas, not the mean, is the gradient.
            return count * slopes[start : start + tf.shape(rows)[0]]

        return loss, tf.nest.map_structure(of_own, slopes, own)

    def _sums(self, function, parts, zeros):
        """The sums of a function's results over the parts, one at a time."""

        def add(index, *sums):
            part = tf.nest.map_structure(lambda rows: rows[index], parts)
            pairs = zip(sums, function(part), strict=True)
            return index + 1, *(total + value for total, value in pairs)

        _, *sums = tf.while_loop(
            lambda index, *_: index < self._parts,
            add,
            (0, *zeros),
            parallel_iterations=1,
        )
        return sums


def _split(rows: Any, parts: int) -> Any:
    return tf.nest.map_structure(lambda x: replicas.split(x, parts), rows)


def _joined(parts: tf.Tensor) -> tf.Tensor:
    """(parts, B, ...) as (parts * B, ...)."""
    shape = tf.concat([[-1], tf.shape(parts)[2:]], 0)
    joined = tf.reshape(parts, shape)
    joined.set_shape([None, *parts.shape[2:]])
    return joined


def _dense(gradients: Any) -> list[tf.Tensor]:
    # A token table without a tied output has a sparse gradient, but Adam
    # moves all its rows.
    return [tf.convert_to_tensor(gradient) for gradient in gradients]
