# SPDX-License-Identifier: Apache-2.0
"""BERT's encoder as a functional model."""

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import Embeddings, EncoderBlock


def build_encoder(config: BertConfig) -> keras.Model:
    """The encoder with its pooler.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32. A token
        attends to those whose padding_mask is not 0.
    Outputs: sequence (B, S, H), pooled (B, H): the first token through a
        dense layer and tanh; both float32.
    The layers are built under Keras's global dtype policy, their weights
        and outputs in its variable dtype.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.
    """
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    tokens = keras.layers.ReversibleEmbedding(
        config.vocab_size,
        config.hidden_size,
        embeddings_initializer=_normal(config),
        dtype=keras.config.dtype_policy().variable_dtype,
        reverse_dtype=keras.config.dtype_policy().compute_dtype,
        name="token_embedding",
    )
    rows = Embeddings(
        max_position_embeddings=config.max_position_embeddings,
        type_vocab_size=config.type_vocab_size,
        position_embedding=config.position_embedding,
        layer_norm_epsilon=config.layer_norm_epsilon,
        dropout=config.hidden_dropout_prob,
        initializer_range=config.initializer_range,
        name="embeddings",
    )(tokens(inputs["token_ids"]), inputs["segment_ids"])
    is_token = ops.not_equal(inputs["padding_mask"], 0)
    attention_mask = ops.expand_dims(is_token, (1, 2))  # (B, 1, 1, S)
    for index in range(config.num_hidden_layers):
        rows = _block(config, index)(rows, attention_mask)
    pooled = keras.layers.Dense(
        config.hidden_size,
        activation="tanh",
        kernel_initializer=_normal(config),
        dtype="float32",
        name="pooler",
    )(rows[:, 0])
    outputs = {features.SEQUENCE: rows, features.POOLED: pooled}
    return keras.Model(inputs, outputs, name="encoder")


def _block(config: BertConfig, index: int) -> EncoderBlock:
    return EncoderBlock(
        num_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        hidden_act=config.hidden_act,
        layer_norm_epsilon=config.layer_norm_epsilon,
        dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
        initializer_range=config.initializer_range,
        name=f"block_{index}",
    )


def _normal(config: BertConfig) -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=config.initializer_range)
