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
    steps are those of the whole table, for less work. LAMB's are not, which
    depend on the norm of the whole.

    Layers and variables are those of `model`, but for the table.

    Args:
        model: functional, with kbert's encoder, whose table is trainable and
            no output's too; it is read now.
        seen: (K,) int, in order: the ids of all tokens that it will be given,
            padding's included.
    Returns: the model to train, and a function that sets the table of `model`
        to what it would be had it been trained itself.
    """
    whole = model.get_layer("token_embedding")
    initial_VH = ops.convert_to_numpy(whole.embeddings)
    V, H = initial_VH.shape
    num_rows = len(seen) + 1
    # Others have no row, which fails on a processor.
    row_V = np.full(V, num_rows, "int32")
    row_V[seen] = np.arange(len(seen))
    table = keras.layers.Embedding(
        num_rows, H, dtype=whole.dtype_policy, name=whole.name
    )
    table.build()
    ones_1H = np.ones_like(initial_VH[:1])
    table.set_weights([np.concatenate([initial_VH[seen], ones_1H])])
    unseen = np.setdiff1d(np.arange(V), seen)
    unseen_rows = initial_VH[unseen]
    del initial_VH  # not kept by what follows

    def call(layer, *args, **kwargs):
        if layer is not whole:
            return layer(*args, **kwargs)
        (token_ids,) = args
        return table(ops.take(row_V, token_ids), **kwargs)

    def give_back():
        rows = ops.convert_to_tensor(table.embeddings)
        everything = ops.concatenate([rows[:-1], unseen_rows * rows[-1]])
        order = np.argsort(np.concatenate([seen, unseen]))
        whole.embeddings.assign(ops.take(everything, order, axis=0))

    smaller = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call
    )
    return smaller, give_back
