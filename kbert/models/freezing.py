# SPDX-License-Identifier: Apache-2.0
"""Freezes the lower layers of a model."""

import keras

from kbert.layers import EncoderBlock


def freeze(model: keras.Model, blocks: int) -> None:
    """Freezes the embeddings and the lowest encoder blocks.

    Their layers are no longer trainable; their dropout stays active in
    training. Call this before the model is compiled or an optimizer is built.

    Args:
        model: a functional model with kbert's encoder.
        blocks: the number of blocks to freeze, from the bottom; 0 freezes only
            the embeddings.
    Raises: ValueError if the model has fewer blocks.
    """
    count = sum(isinstance(layer, EncoderBlock) for layer in model.layers)
    if not 0 <= blocks <= count:
        raise ValueError(
            f"blocks is {blocks}; needs 0 to {count}, as the model has {count}."
        )
    names = [f"block_{index}" for index in range(blocks)]
    for name in ("token_embedding", "embeddings", *names):
        model.get_layer(name).trainable = False
