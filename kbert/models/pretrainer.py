# SPDX-License-Identifier: Apache-2.0
"""BERT with its two pre-training outputs as a functional model."""

import keras

from kbert import features
from kbert.config import BertConfig
from kbert.layers import AddBias, MlmTransform, TakePositions
from kbert.models.encoder import build_encoder


def build_pretrainer(config: BertConfig) -> keras.Model:
    """The encoder with the masked-LM and the next-sentence output.

    Inputs: the encoder's, and mask_positions (B, P) int32.
    Outputs: mlm_logits (B, P, V), only at the masked positions, their matrix
        tied to the token embedding; nsp_logits (B, 2), index 0 for "b is
        the next sentence", 1 for "b is random"; both float32.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1.
    """
    encoder = build_encoder(config)
    inputs = {**encoder.input, **features.keras_inputs(features.MLM_INPUTS)}
    hidden = TakePositions(name="masked")(
        encoder.output[features.SEQUENCE], inputs["mask_positions"]
    )
    hidden = MlmTransform(
        config.hidden_act,
        config.layer_norm_epsilon,
        config.initializer_range,
        name="mlm_transform",
    )(hidden)
    tokens = encoder.get_layer("token_embedding")  # also the output matrix
    mlm = AddBias(dtype="float32", name="mlm_bias")(
        tokens(hidden, reverse=True)
    )
    nsp = keras.layers.Dense(
        2,
        kernel_initializer=keras.initializers.TruncatedNormal(
            stddev=config.initializer_range
        ),
        dtype="float32",
        name="nsp",
    )(encoder.output[features.POOLED])
    outputs = {features.MLM_LOGITS: mlm, features.NSP_LOGITS: nsp}
    return keras.Model(inputs, outputs, name="pretrainer")
