# SPDX-License-Identifier: Apache-2.0
"""A frozen encoder whose layer outputs are features for another model."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import LayerMix
from kbert.models.encoder import encode


def build_features(
    config: BertConfig, layers: int | Sequence[int] | Literal["mix"] = -1
) -> keras.Model:
    """Builds a frozen encoder, whose layer outputs feed a trainable model.

    Its layers are not trainable and have no dropout. `folder.copy_weights`
    copies the weights of a trained model into it.

        frozen = build_features(config, layers=[-4, -3, -2, -1])
        tags = keras.layers.Dense(9)(frozen.output["sequence"])
        model = keras.Model(frozen.input, tags)  # compile, fit

    Args:
        config: the architecture of the trained model.
        layers: 0 for the embeddings, 1 to L for the output of a block,
            negative numbers counted from the top; a sequence of these, to be
            concatenated; or "mix" for a weighted mean of all layers with
            trainable weights.
    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32.
    Outputs: sequence (B, S, H), or (B, S, k * H) for k layers; float32.
    Raises: ValueError if `layers` is empty or names a layer that the encoder
        does not have.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 5.3 and table 7;
        for the mix Peters et al. 2018, arXiv:1802.05365, equation 1.
    """
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    without_dropout = dataclasses.replace(
        config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    outputs = encode(without_dropout, inputs).layers
    if layers == "mix":
        mix = LayerMix(dtype="float32", name="layer_mix")
        sequence = mix(list(outputs))
    else:
        chosen = [outputs[i] for i in _indices(layers, len(outputs))]
        sequence = chosen[0]
        if len(chosen) > 1:
            sequence = ops.concatenate(chosen, axis=-1)
    model = keras.Model(inputs, {features.SEQUENCE: sequence}, name="features")
    for layer in model.layers:
        layer.trainable = isinstance(layer, LayerMix)
    return model


def _indices(layers: int | Sequence[int], count: int) -> list[int]:
    indices = [layers] if isinstance(layers, int) else list(layers)
    invalid = [x for x in indices if x not in range(-count, count)]
    if invalid or not indices:
        raise ValueError(
            f"layers is {layers!r}; needs numbers from {-count} to "
            f"{count - 1}, 0 for the embeddings, or 'mix'."
        )
    return indices
