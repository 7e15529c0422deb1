# SPDX-License-Identifier: Apache-2.0
"""A model for training on texts that use a part of the vocabulary."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops


def with_seen_tokens(
    model: keras.Model, seen: np.ndarray
) -> tuple[keras.Model, Callable[[], None]]:
    """The same model, whose token table has the rows of some tokens alone.

    Half of a small encoder is its token table, of which a training set uses a
    part. The other rows have no gradient: all that AdamW does to them is
    weight decay, by one factor for all. A row of ones stands for them in the
    smaller table. It decays as they do, moving averages included, so that the
    steps are those of the whole table, for less work and memory.

    Layers and variables are those of `model`, but for the table.

    Args:
        model: functional, with kbert's encoder; its table is read now.
        seen: (K,) int, in order: the ids of all tokens that it will be given,
            padding's included.
    Returns: the model to train, and a function that sets the table of `model`
        to what it would be had it been trained itself.
    """
    whole = model.get_layer("token_embedding")
    initial_VH = ops.convert_to_numpy(whole.embeddings)
    num_rows = len(seen) + 1
    row_V = np.full(len(initial_VH), num_rows, "int32")  # no row: it fails
    row_V[seen] = np.arange(len(seen))
    table = keras.layers.Embedding(
        num_rows,
        initial_VH.shape[1],
        dtype=whole.dtype_policy,
        name=whole.name,
    )
    table.build()
    unseen_1H = np.ones_like(initial_VH[:1])
    table.set_weights([np.concatenate([initial_VH[seen], unseen_1H])])

    def call(layer, *args, **kwargs):
        if layer is not whole:
            return layer(*args, **kwargs)
        (token_ids,) = args
        return table(ops.take(row_V, token_ids), **kwargs)

    def give_back():
        rows = ops.convert_to_tensor(table.embeddings)
        whole.embeddings.assign(
            ops.scatter_update(
                initial_VH * rows[-1], np.expand_dims(seen, 1), rows[:-1]
            )
        )

    smaller = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call
    )
    return smaller, give_back
