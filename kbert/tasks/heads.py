# SPDX-License-Identifier: Apache-2.0
"""What the heads of several tasks are made of."""

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.models import encode


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
    """A dense layer that begins as the encoder's do: (..., size)."""
    return keras.layers.Dense(
        size,
        kernel_initializer=keras.initializers.TruncatedNormal(
            stddev=config.initializer_range
        ),
        dtype="float32",
        name=name,
    )(hidden)
