# SPDX-License-Identifier: Apache-2.0
"""A model's matrices in fewer bits, for graphs that read them."""

import uuid
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import quantizers

from kbert.layers import EncoderBlock


class ReducedWeights(keras.StatelessScope):
    """Graphs that are traced inside read other values of a model's matrices.

    These are those of the encoder blocks and the token table, nearly all of
    the weights; biases, norms, positions and heads are read as they are.

    bfloat16  for a model of Keras's policy mixed_bfloat16, whose products
              then need not round the matrices again
    int8      numbers from -127 to 127, with a scale for each column of a
              block's matrix and each row of the token table. They are so in
              the file; when a server loads it they become float32, and so a
              request costs what it does without.

    Args:
        model: whose graphs are to be traced.
        precision: "bfloat16" or "int8".
    """

    def __init__(self, model: keras.Model, precision: str):
        super().__init__()
        kind = {"bfloat16": _Rounded, "int8": _Quantized}[precision]
        self._stored = {
            id(weight): kind(weight, axis) for weight, axis in _matrices(model)
        }
        rest = [w.value for w in model.weights if id(w) not in self._stored]
        # All that a SavedModel of the graphs has to hold.
        self.tracked = [
            *rest,
            *self._stored.values(),
            *(x for stored in self._stored.values() for x in stored.variables),
        ]

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        """What `variable.value` is inside; None for its own value."""
        stored = self._stored.get(id(variable))
        return None if stored is None else stored.read()


def _matrices(model) -> Iterator[tuple[keras.Variable, int]]:
    """With the axis along which a scale is shared."""
    for layer in model.layers:
        if isinstance(layer, EncoderBlock):
            yield from ((w, 0) for w in layer.weights if len(w.shape) == 2)
        elif isinstance(layer, keras.layers.ReversibleEmbedding):
            yield layer.embeddings, 1


class _Rounded(tf.Module):
    """A matrix in bfloat16."""

    def __init__(self, weight, axis):
        super().__init__()
        del axis  # each number has an exponent of its own
        values = tf.cast(weight.value, tf.bfloat16)
        self.values = tf.Variable(values, trainable=False)

    def read(self):
        return self.values.read_value()


class _Quantized(tf.saved_model.experimental.TrackableResource):
    """A matrix that a file has in int8 and the memory in float32."""

    def __init__(self, weight, axis):
        super().__init__()
        numbers, scale = quantizers.abs_max_quantize(weight.value, axis=axis)
        self.numbers = tf.Variable(numbers, trainable=False)
        self.steps = tf.Variable(1 / tf.constant(scale), trainable=False)
        self._name = f"matrix_{uuid.uuid4().hex}"
        # A resource's own attributes are not saved with it.
        self.variables = [self.numbers, self.steps]
        self._initialize()

    def _create_resource(self) -> Any:
        return tf.raw_ops.VarHandleOp(
            dtype=tf.float32, shape=self.numbers.shape, shared_name=self._name
        )

    def _initialize(self):
        tf.raw_ops.AssignVariableOp(
            resource=self.resource_handle,
            value=tf.cast(self.numbers, tf.float32) * self.steps,
        )

    def _destroy_resource(self):
        tf.raw_ops.DestroyResourceOp(resource=self.resource_handle)

    def read(self):
        values = tf.raw_ops.ReadVariableOp(
            resource=self.resource_handle, dtype=tf.float32
        )
        return tf.ensure_shape(values, self.numbers.shape)
