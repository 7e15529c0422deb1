# SPDX-License-Identifier: Apache-2.0
"""Training the upper part of a model alone."""

import keras

from kbert.layers import EncoderBlock


def freeze(model: keras.Model, blocks: int) -> None:
    """Keeps the embeddings and the lowest encoder blocks as they are.

    Their layers are not trainable any more, dropout goes on in them. Do it
    before the model is compiled or an optimizer is built.

    Args:
        model: functional, with kbert's encoder.
        blocks: how many blocks, from below; 0 for the embeddings alone.
    Raises: ValueError if the model has fewer blocks.
    """
    there = [layer for layer in model.layers if isinstance(layer, EncoderBlock)]
    if not 0 <= blocks <= len(there):
        raise ValueError(
            f"blocks is {blocks}; wanted 0 to {len(there)}, the model's."
        )
    names = [f"block_{index}" for index in range(blocks)]
    for name in ("token_embedding", "embeddings", *names):
        model.get_layer(name).trainable = False
