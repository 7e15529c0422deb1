# SPDX-License-Identifier: Apache-2.0
"""The interface of a task's head, and layers that several heads share."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import FoldChoices, JoinWindows
from kbert.models import encode
from kbert.tasks.long_texts import Join


class Head(NamedTuple):
    """The interface of a task's head.py.

    Attributes:
        build: from a BertConfig and a TaskSpec to the functional model.
        losses: of a TaskSpec, by output, as training minimizes them.
        metrics: the same, for the logs of training.
        settings: the dataclass of the task's settings, if it has any.
        has_labels: whether the classes have names.
        has_pairs: whether rows have two segments, whatever num_texts says.
        num_texts: of an example, where it is always the same.
        default_settings: from the most tokens of a row to those settings of
            a new model that depend on it.
    """

    build: Callable[[BertConfig, Any], keras.Model]
    losses: Callable[[Any], Mapping[str, keras.losses.Loss]] = lambda spec: {}
    metrics: Callable[[Any], Mapping[str, list[keras.metrics.Metric]]] = (
        lambda spec: {}
    )
    settings: Any = None
    has_labels: bool = False
    has_pairs: bool = False
    num_texts: int | None = None
    default_settings: Callable[[int], Mapping[str, Any]] = lambda length: {}

    def settings_of(self, length: int, given: Mapping[str, Any]) -> Any:
        """The settings of a new model whose rows have so many tokens.

        Raises: ValueError, naming one that the task does not have, or a wrong
            value.
        """
        fields = dataclasses.fields(self.settings) if self.settings else ()
        given = {**self.default_settings(length), **given}
        if unknown := given.keys() - {field.name for field in fields}:
            raise ValueError(f"{min(unknown)} is no setting of this task.")
        for field in fields:
            if field.default is dataclasses.MISSING and field.name not in given:
                raise ValueError(
                    f"{field.name} is missing; this task needs it."
                )
        if self.settings is None:
            return None
        return self.settings(**given)


class TextInputs:
    """The inputs of a model that reads a text in a row, or in windows.

    Args:
        join: how the vectors of windows are joined; None for single rows.

    Attributes:
        of_model: ENCODER_INPUTS, each (B, S) int32, or (B, N, S) of windows.
        rows: as the encoder takes them, (B, S) or (B * N, S).
    """

    def __init__(self, join: Join | None):
        self._join: Join | None = join
        if join is None:
            self.of_model = features.keras_inputs(features.ENCODER_INPUTS)
            self.rows = self.of_model
            return
        self.of_model = {
            name: keras.Input((None, None), dtype="int32", name=name)
            for name in features.ENCODER_INPUTS
        }
        fold = FoldChoices(name="fold_windows")
        self.rows = {name: fold(x) for name, x in self.of_model.items()}

    @property
    def first_B1(self) -> keras.KerasTensor:
        """The position of each row's first token."""
        return ops.zeros_like(self.rows["token_ids"][:, :1])

    def joined(self, vectors: keras.KerasTensor) -> keras.KerasTensor:
        """The vectors of texts, (B, H), of those of rows."""
        if self._join is None:
            return vectors
        join = JoinWindows(self._join, dtype="float32", name="join_windows")
        return join(vectors, self.of_model["padding_mask"])


def pooled_head(
    config: BertConfig, size: int, name: str, join: Join | None = None
) -> tuple[dict[str, keras.KerasTensor], keras.KerasTensor]:
    """An encoder's inputs, and (B, size) from its pooled output.

    Args:
        config: the architecture.
        size: of the output.
        name: of the dense layer.
        join: how the pooled outputs of a text's windows are joined; None for
            texts of a row.
    """
    inputs = TextInputs(join)
    encoded = encode(config, inputs.rows, positions=inputs.first_B1)
    hidden = inputs.joined(encoded.pooled)
    return inputs.of_model, dense_head(config, hidden, size, name)


def dense_head(
    config: BertConfig, hidden: keras.KerasTensor, size: int, name: str
) -> keras.KerasTensor:
    """Dropout and a dense layer, as most tasks have them: (..., size)."""
    hidden = keras.layers.Dropout(
        config.hidden_dropout_prob, dtype="float32", name=f"{name}_dropout"
    )(hidden)
    return dense(config, hidden, size, name)


def dense(
    config: BertConfig, hidden: keras.KerasTensor, size: int, name: str
) -> keras.KerasTensor:
    """A dense layer that is initialized as the encoder's are: (..., size)."""
    return keras.layers.Dense(
        size,
        kernel_initializer=keras.initializers.TruncatedNormal(
            stddev=config.initializer_range
        ),
        dtype="float32",
        name=name,
    )(hidden)
