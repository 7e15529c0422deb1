# SPDX-License-Identifier: Apache-2.0
"""BERT's encoder as a functional model."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import Embeddings, EncoderBlock


class Encoded(NamedTuple):
    """What the encoder gives, and the layer that an output may share.

    Attributes:
        sequence: (B, S, H), or (B, P, H) at P positions; float32.
        pooled: (B, H), the first of them through a dense layer and tanh;
            float32.
        token_embedding: the layer with the token table.
        layers: what each layer gives, the embeddings' first and then each
            block's, float32; (B, S, H) but the last, which is `sequence`.
            What no output uses is no part of the model.
    """

    sequence: keras.KerasTensor
    pooled: keras.KerasTensor
    token_embedding: keras.layers.ReversibleEmbedding
    layers: tuple[keras.KerasTensor, ...]


def build_encoder(config: BertConfig, packed: bool = False) -> keras.Model:
    """The encoder with its pooler.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32. A token
        attends to those whose padding_mask is not 0; if `packed`, to those
        whose padding_mask is the same, and each text has positions from 0.
    Outputs: sequence (B, S, H), pooled (B, H): the first token through a
        dense layer and tanh; both float32.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.
    """
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    encoded = encode(config, inputs, packed=packed)
    outputs = {
        features.SEQUENCE: encoded.sequence,
        features.POOLED: encoded.pooled,
    }
    return keras.Model(inputs, outputs, name="encoder")


def encode(
    config: BertConfig,
    inputs: Mapping[str, keras.KerasTensor],
    positions: keras.KerasTensor | None = None,
    packed: bool = False,
) -> Encoded:
    """The encoder inside a functional model, its head to follow.

    The layers are built under Keras's global dtype policy, their weights
    and outputs in its variable dtype.

    Args:
        config: the architecture.
        inputs: ENCODER_INPUTS at least.
        positions: (B, P) int32, for a head that reads no more than these
            tokens, the first of them token 0: the last block then computes
            nothing else, which is most of its work. The numbers are the same.
        packed: whether a row may hold several texts, the k-th where its
            padding_mask is k. Each is then as in a row of its own: a token
            attends to its own text, and the positions begin anew.
    """
    layers = _Layers(config)
    rows = call_layers(
        layers.make, config.num_hidden_layers, inputs, positions, packed
    )
    pooled = keras.layers.Dense(
        config.hidden_size,
        activation="tanh",
        kernel_initializer=_normal(config),
        dtype="float32",
        name="pooler",
    )(rows[-1][:, 0])
    return Encoded(rows[-1], pooled, layers.token_embedding, tuple(rows))


def call_layers(
    layer: Callable[[str], keras.Layer],
    num_blocks: int,
    inputs: Mapping[str, keras.KerasTensor],
    positions: keras.KerasTensor | None = None,
    packed: bool = False,
) -> list[keras.KerasTensor]:
    """Calls an encoder's layers one after another.

    Args:
        layer: gives the one of a name; asked for each before it is called.
        num_blocks: how many there are.
        inputs: as `encode` has it, and so have the others.
        positions: likewise.
        packed: likewise.
    Returns: what each gives, as `Encoded.layers` has it.
    """
    padding_mask = inputs["padding_mask"]
    position_ids = None
    if packed:
        same_BSS = ops.equal(
            ops.expand_dims(padding_mask, 2), ops.expand_dims(padding_mask, 1)
        )
        position_ids = _places(same_BSS)
        attention_mask = ops.expand_dims(same_BSS, 1)  # (B, 1, S, S)
    else:
        is_token = ops.not_equal(padding_mask, 0)
        attention_mask = ops.expand_dims(is_token, (1, 2))  # (B, 1, 1, S)
    tokens, embeddings = layer("token_embedding"), layer("embeddings")
    rows = embeddings(
        tokens(inputs["token_ids"]), inputs["segment_ids"], position_ids
    )
    found = [rows]
    last = num_blocks - 1
    for index in range(last):
        rows = layer(f"block_{index}")(rows, attention_mask)
        found.append(rows)
    rows = layer(f"block_{last}")(rows, attention_mask, positions=positions)
    return [*found, rows]


def _places(same_BSS: keras.KerasTensor) -> keras.KerasTensor:
    """The place (B, S) of each token in its own text, from 0."""
    # The first token of the text is the first that is True.
    first_BS = ops.argmax(ops.cast(same_BSS, "int32"), axis=2)
    place_BS = ops.cumsum(ops.ones_like(first_BS), axis=1) - 1
    return ops.cast(place_BS - first_BS, "int32")


class _Layers:
    """Makes the layers between the inputs and the pooler, each by its name."""

    def __init__(self, config: BertConfig):
        self._config = config
        self.token_embedding = keras.layers.ReversibleEmbedding(
            config.vocab_size,
            config.hidden_size,
            embeddings_initializer=_normal(config),
            dtype=keras.config.dtype_policy().variable_dtype,
            reverse_dtype=keras.config.dtype_policy().compute_dtype,
            name="token_embedding",
        )

    def make(self, name: str) -> keras.Layer:
        if name == "token_embedding":
            return self.token_embedding
        config = self._config
        if name == "embeddings":
            return Embeddings(
                max_position_embeddings=config.max_position_embeddings,
                type_vocab_size=config.type_vocab_size,
                position_embedding=config.position_embedding,
                layer_norm_epsilon=config.layer_norm_epsilon,
                dropout=config.hidden_dropout_prob,
                initializer_range=config.initializer_range,
                name=name,
            )
        return EncoderBlock(
            num_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            hidden_act=config.hidden_act,
            layer_norm_epsilon=config.layer_norm_epsilon,
            dropout=config.hidden_dropout_prob,
            attention_dropout=config.attention_probs_dropout_prob,
            initializer_range=config.initializer_range,
            name=name,
        )


def _normal(config: BertConfig) -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=config.initializer_range)
