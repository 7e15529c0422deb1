# SPDX-License-Identifier: Apache-2.0
"""BERT with its pre-training outputs as a functional model."""

from collections.abc import Collection

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import AddBias, MlmTransform
from kbert.models.encoder import Encoded, encode

OUTPUTS = (features.MLM_LOGITS, features.NSP_LOGITS)


def build_pretrainer(
    config: BertConfig,
    outputs: Collection[str] = OUTPUTS,
    packed: bool = False,
) -> keras.Model:
    """Builds the encoder with the masked-LM head, the NSP head, or both.

    Inputs: those of the encoder and, for mlm_logits, mask_positions (B, P)
        int32.
    Outputs: as `outputs` lists them: mlm_logits (B, P, V) at the masked
        positions, with the output matrix tied to the token embedding unless
        the config says otherwise; nsp_logits (B, 2), index 0 for "b is the
        next sentence" and 1 for "b is random"; both float32. Without
        nsp_logits there is no pooler.
    If `packed`, a row may hold several texts; see `encode`. Its nsp_logits
        are those of the first text.
    Raises: ValueError if `outputs` is empty or has an unknown name.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1.
    """
    if not outputs or set(outputs) - set(OUTPUTS):
        raise ValueError(
            f"outputs are {list(outputs)}; needs one or both of "
            f"{list(OUTPUTS)}."
        )
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    positions = ops.zeros_like(inputs["token_ids"][:, :1])  # [CLS]
    if features.MLM_LOGITS in outputs:
        inputs |= features.keras_inputs(features.MLM_INPUTS)
        positions = ops.concatenate([positions, inputs["mask_positions"]], 1)
    encoded = encode(config, inputs, positions=positions, packed=packed)
    logits = {}
    if features.MLM_LOGITS in outputs:
        logits[features.MLM_LOGITS] = _mlm_logits(config, encoded)
    if features.NSP_LOGITS in outputs:
        logits[features.NSP_LOGITS] = keras.layers.Dense(
            2,
            kernel_initializer=_normal(config),
            dtype="float32",
            name="nsp",
        )(encoded.pooled)
    return keras.Model(inputs, logits, name="pretrainer")


def _mlm_logits(config, encoded: Encoded):
    hidden = MlmTransform(
        config.mlm_hidden_act or config.hidden_act,
        config.mlm_layer_norm_epsilon or config.layer_norm_epsilon,
        config.initializer_range,
        name="mlm_transform",
    )(encoded.sequence[:, 1:])
    if config.tie_word_embeddings:
        matrix = encoded.token_embedding
    else:
        matrix = keras.layers.ReversibleEmbedding(
            config.vocab_size,
            config.hidden_size,
            embeddings_initializer=_normal(config),
            dtype=keras.config.dtype_policy().variable_dtype,
            reverse_dtype=keras.config.dtype_policy().compute_dtype,
            name="mlm_output",
        )
    return AddBias(dtype="float32", name="mlm_bias")(
        matrix(hidden, reverse=True)
    )


def _normal(config):
    return keras.initializers.TruncatedNormal(stddev=config.initializer_range)
