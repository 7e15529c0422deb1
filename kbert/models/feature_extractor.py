# SPDX-License-Identifier: Apache-2.0
"""A frozen encoder whose layers are features for another model."""

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
    """An encoder that is not trained, under a model that is.

    Its layers do not train and drop nothing out. `folder.copy_weights` gives
    it the weights of a trained model.

        frozen = build_features(config, layers=[-4, -3, -2, -1])
        tags = keras.layers.Dense(9)(frozen.output["sequence"])
        model = keras.Model(frozen.input, tags)  # compile, fit

    Args:
        config: of the trained model.
        layers: 0 for the embeddings, 1 to L for a block's output, negative
            ones counted from the top; several of them side by side; or
            "mix" for a weighted mean of all of them, whose weights train.
    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32.
    Outputs: sequence (B, S, H), of k layers side by side (B, S, k * H);
        float32.
    Raises: ValueError for a layer that the encoder has not, or none.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 5.3 and table 7;
        for the mix Peters et al. 2018, arXiv:1802.05365, equation 1.
    """
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    steady = dataclasses.replace(
        config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    found = encode(steady, inputs).layers
    if layers == "mix":
        mix = LayerMix(dtype="float32", name="layer_mix")
        sequence = mix(list(found))
    else:
        chosen = [found[i] for i in _places(layers, len(found))]
        sequence = chosen[0]
        if len(chosen) > 1:
            sequence = ops.concatenate(chosen, axis=-1)
    model = keras.Model(inputs, {features.SEQUENCE: sequence}, name="features")
    for layer in model.layers:
        layer.trainable = isinstance(layer, LayerMix)
    return model


def _places(layers: int | Sequence[int], count: int) -> list[int]:
    places = [layers] if isinstance(layers, int) else list(layers)
    wrong = [x for x in places if x not in range(-count, count)]
    if wrong or not places:
        raise ValueError(
            f"layers is {layers!r}; wanted numbers from {-count} to "
            f"{count - 1}, 0 for the embeddings, or 'mix'."
        )
    return places
