# SPDX-License-Identifier: Apache-2.0
"""Models for graphs that predict: quick to run, small to load."""

from typing import Any

import keras
import tensorflow as tf

from kbert import models
from kbert.layers import EncoderBlock


class SharedBlocks:
    """Makes models of which a graph holds one function, and one encoder block.

    The blocks of a model are alike but for their weights, so one function
    that takes those computes them all; and the graphs that call a model share
    it. A SavedModel is then a fraction of the size, and so is the time to
    trace, save and load it. TensorFlow inlines the functions before it
    runs them: what it runs is the same.
    """

    def __init__(self):
        self._first: Any = None  # whose code computes all

    def of(self, model: keras.Model) -> keras.Model:
        """The same functional model without its work for padding.

        Models of several calls share the block's function; theirs must be of
        one configuration.
        """
        model = keras.models.clone_model(
            models.without_padding(model),
            clone_function=lambda layer: layer,
            call_function=self._call,
        )
        inputs = dict(model.input)
        return keras.Model(inputs, _Whole(model)(inputs), name=model.name)

    def _call(self, layer, *args, **kwargs):
        if not isinstance(layer, EncoderBlock):
            return layer(*args, **kwargs)
        self._first = self._first or layer
        return _Block(layer, self)(*args, **kwargs)

    @tf.function(autograph=False)
    def run(self, weights: list[tf.Tensor], *inputs: Any) -> Any:
        """Computes a block with these weights."""
        with _Values(self._first, weights):
            return self._first(*inputs, training=False)


class _Block(keras.layers.Layer):
    """A block in a functional model, computed by a function of its weights."""

    def __init__(self, block, shared):
        # Autocast would round all that is read of a mixed policy's weights.
        super().__init__(name=block.name, autocast=False)
        self._block, self._shared = block, shared

    def compute_output_spec(self, *args, **kwargs):
        return self._block.compute_output_spec(*args, **kwargs)

    def call(
        self,
        rows,
        attention_mask,
        slot_rows=None,
        row_slots=None,
        positions=None,
    ):
        weights = [tf.convert_to_tensor(w.value) for w in self._block.weights]
        return self._shared.run(
            weights, rows, attention_mask, slot_rows, row_slots, positions
        )


class _Whole(keras.Operation):
    """A functional model in another, as a function."""

    def __init__(self, model):
        super().__init__(name=model.name)
        self._model = model

    def compute_output_spec(self, inputs):
        return {
            name: keras.KerasTensor(x.shape, x.dtype)
            for name, x in self._model.output.items()
        }

    @tf.function(autograph=False)
    def call(self, inputs):
        return self._model(inputs, training=False)


class _Values(keras.StatelessScope):
    """Inside, the weights of a block are other tensors, of any dtype."""

    def __init__(self, block: EncoderBlock, values: list[tf.Tensor]):
        super().__init__()
        weights = map(id, block.weights)
        self._values = dict(zip(weights, values, strict=True))

    def get_current_value(self, variable: keras.Variable) -> Any:
        return self._values.get(id(variable))
