# SPDX-License-Identifier: Apache-2.0
"""The interface of a task's head, and layers that several heads share."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.models import encode


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


def pooled_head(
    config: BertConfig, size: int, name: str
) -> tuple[dict[str, keras.KerasTensor], keras.KerasTensor]:
    """An encoder's inputs, and (B, size) from its pooled output."""
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    first_B1 = ops.zeros_like(inputs["token_ids"][:, :1])
    encoded = encode(config, inputs, positions=first_B1)
    return inputs, dense_head(config, encoded.pooled, size, name)


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
