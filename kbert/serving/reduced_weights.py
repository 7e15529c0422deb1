# SPDX-License-Identifier: Apache-2.0
"""A model's matrices in fewer bits, for graphs that read them."""

import hashlib
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
              request costs what it does without. The memory holds both.

    Attributes:
        tracked: what a SavedModel of the graphs has to hold.

    Args:
        model: whose graphs are to be traced.
        precision: "bfloat16" or "int8".
    Raises: ValueError for another precision, or if the model's policy is not
        the one that it wants.
    """

    def __init__(self, model: keras.Model, precision: str):
        super().__init__()
        computes = model.dtype_policy.compute_dtype
        wanted = {"bfloat16": "bfloat16", "int8": "float32"}.get(precision)
        if computes != wanted:
            raise ValueError(
                f"{precision!r} of a model that computes in {computes}; wanted "
                "'bfloat16' of mixed_bfloat16, or 'int8' of float32."
            )
        self._stored: dict[int, Any] = {
            id(weight): _Rounded(weight)
            if precision == "bfloat16"
            else _Quantized(weight, axis)
            for weight, axis in _matrices(model)
        }
        rest = [w.value for w in model.weights if id(w) not in self._stored]
        stored = self._stored.values()
        # A resource's own attributes are not saved with it.
        parts = [x for one in stored for x in one.variables]
        self.tracked: list[Any] = [*rest, *stored, *parts]

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

    def __init__(self, weight):
        super().__init__()
        values = tf.cast(weight.value, tf.bfloat16)
        self.values = tf.Variable(values, trainable=False)

    def read(self):
        return self.values.read_value()


def _name_of(numbers, scale) -> str:
    """Of a resource that others share only if it holds the same numbers."""
    digest = hashlib.sha256(repr(tuple(numbers.shape)).encode())
    for part in (numbers, scale):
        digest.update(keras.ops.convert_to_numpy(part).tobytes())
    return f"matrix_{digest.hexdigest()[:32]}"


class _Quantized(tf.saved_model.experimental.TrackableResource):
    """A matrix that a file has in int8, and the graphs in float32.

    It has no `_destroy_resource`: whatever loads the file shares the name of
    the resource, and would lose it to the first that goes.
    """

    def __init__(self, weight, axis):
        super().__init__()
        numbers, scale = quantizers.abs_max_quantize(weight.value, axis=axis)
        self.numbers = tf.Variable(numbers, trainable=False)
        self.steps = tf.Variable(1 / tf.constant(scale), trainable=False)
        self.variables = [self.numbers, self.steps]
        self._name = _name_of(numbers, scale)
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

    def read(self):
        values = tf.raw_ops.ReadVariableOp(
            resource=self.resource_handle, dtype=tf.float32
        )
        return tf.ensure_shape(values, self.numbers.shape)
