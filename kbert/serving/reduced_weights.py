# SPDX-License-Identifier: Apache-2.0
"""Stores a model's matrices in reduced precision."""

import hashlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import quantizers

from kbert.layers import EncoderBlock


class ReducedWeights(keras.StatelessScope):
    """A scope in which graphs are traced with reduced-precision matrices.

    It applies to the matrices of the encoder blocks and to the token table,
    nearly all of the weights; biases, norms, positions and heads are unchanged.

    bfloat16  for a model with Keras's policy mixed_bfloat16, whose products
              then need not round the matrices again
    int8      numbers from -127 to 127, with a scale for each column of a
              block's matrix and each row of the token table. The file has
              these numbers; a server converts them to float32 when it loads
              the file, so requests cost the same, and has both in memory.

    Attributes:
        tracked: the objects that a SavedModel of the graphs must contain.

    Args:
        model: the model of the graphs.
        precision: "bfloat16" or "int8".
    Raises: ValueError for another precision, or if it does not fit the model's
        policy.
    """

    def __init__(self, model: keras.Model, precision: str):
        super().__init__()
        found = model.dtype_policy.compute_dtype
        needed = {"bfloat16": "bfloat16", "int8": "float32"}.get(precision)
        if found != needed:
            raise ValueError(
                f"precision is {precision!r} and the model computes in "
                f"{found}; needs 'bfloat16' with the policy mixed_bfloat16, or "
                "'int8' with float32."
            )
        self._stored: dict[int, Any] = {
            id(weight): _Rounded(weight)
            if precision == "bfloat16"
            else _Quantized(weight, axis)
            for weight, axis in _matrices(model)
        }
        rest = [w.value for w in model.weights if id(w) not in self._stored]
        stored = self._stored.values()
        # The attributes of a resource are not saved with it.
        parts = [x for one in stored for x in one.variables]
        self.tracked: list[Any] = [*rest, *stored, *parts]

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        """Returns `variable.value` in this scope; None if it is unchanged."""
        stored = self._stored.get(id(variable))
        return None if stored is None else stored.read()


def _matrices(model) -> Iterator[tuple[keras.Variable, int]]:
    """Yields each matrix, and the axis along which a scale is shared."""
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
    """Returns a resource name that only equal numbers share."""
    digest = hashlib.sha256(repr(tuple(numbers.shape)).encode())
    for part in (numbers, scale):
        digest.update(keras.ops.convert_to_numpy(part).tobytes())
    return f"matrix_{digest.hexdigest()[:32]}"


class _Quantized(tf.saved_model.experimental.TrackableResource):
    """A matrix that is int8 in the file and float32 in the graphs.

    It has no `_destroy_resource`: all loaded copies of the file share the
    resource by its name, and the first one to end would destroy it.
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
