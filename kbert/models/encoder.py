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
    """The outputs of the encoder, and the token table for a tied head.

    Attributes:
        sequence: (B, S, H), or (B, P, H) at P positions; float32.
        pooled: (B, H), the first position after a dense layer and tanh;
            float32.
        token_embedding: the layer with the token table.
        layers: the output of the embeddings and then of each block, float32
            (B, S, H), except that the last is `sequence`. Layers that no
            output uses are not part of the model.
    """

    sequence: keras.KerasTensor
    pooled: keras.KerasTensor
    token_embedding: keras.layers.ReversibleEmbedding
    layers: tuple[keras.KerasTensor, ...]


def build_encoder(config: BertConfig, packed: bool = False) -> keras.Model:
    """Builds the encoder with its pooler.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32. A token
        attends to all tokens whose padding_mask is not 0. If `packed`, it
        attends to those with the same padding_mask as its own, and the
        positions of each text start at 0.
    Outputs: sequence (B, S, H), and pooled (B, H), the first token after a
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
    """Applies a new encoder to inputs, for a head to be added.

    The layers are built under Keras's global dtype policy; weights and outputs
    have its variable dtype.

    Args:
        config: the architecture.
        inputs: at least ENCODER_INPUTS.
        positions: (B, P) int32, the tokens that the head reads, starting with
            token 0. The last block then computes only these outputs, which
            saves most of its work. The values are the same.
        packed: whether a row may hold several texts, the k-th where
            padding_mask is k. Each text is encoded as in a separate row: its
            tokens attend only to each other, and its positions start at 0.
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
    """Calls the layers of an encoder one after another.

    Args:
        layer: a function from a layer's name to the layer.
        num_blocks: the number of encoder blocks.
        inputs: as for `encode`.
        positions: as for `encode`.
        packed: as for `encode`.
    Returns: the outputs, as in `Encoded.layers`.
    """
    padding_mask = inputs["padding_mask"]
    position_ids = None
    if packed:
        same_BSS = ops.equal(
            ops.expand_dims(padding_mask, 2), ops.expand_dims(padding_mask, 1)
        )
        position_ids = _position_ids(same_BSS)
        attention_mask = ops.expand_dims(same_BSS, 1)  # (B, 1, S, S)
    else:
        is_token = ops.not_equal(padding_mask, 0)
        attention_mask = ops.expand_dims(is_token, (1, 2))  # (B, 1, 1, S)
    tokens, embeddings = layer("token_embedding"), layer("embeddings")
    rows = embeddings(
        tokens(inputs["token_ids"]), inputs["segment_ids"], position_ids
    )
    outputs = [rows]
    last = num_blocks - 1
    for index in range(last):
        rows = layer(f"block_{index}")(rows, attention_mask)
        outputs.append(rows)
    rows = layer(f"block_{last}")(rows, attention_mask, positions=positions)
    return [*outputs, rows]


def _position_ids(same_BSS: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the position (B, S) of each token in its own text, from 0."""
    # argmax finds the first True: the first token of the same text.
    first_BS = ops.argmax(ops.cast(same_BSS, "int32"), axis=2)
    index_BS = ops.cumsum(ops.ones_like(first_BS), axis=1) - 1
    return ops.cast(index_BS - first_BS, "int32")


class _Layers:
    """Makes the layers of a new encoder by name."""

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
