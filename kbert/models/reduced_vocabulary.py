# SPDX-License-Identifier: Apache-2.0
"""Training on texts that use only a part of the vocabulary."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops


def with_reduced_vocabulary(
    model: keras.Model, used_ids: np.ndarray
) -> tuple[keras.Model, Callable[[], None]]:
    """Returns the same model with a token table of only the used tokens.

    The token table is half of a small encoder, and a training set uses a part
    of it. The other rows have no gradient: AdamW only applies weight decay to
    them, by the same factor for all. In the smaller table a row of ones
    represents them. It decays as they do, moving averages included, so the
    steps equal those of the whole table and cost less. This does not hold for
    LAMB, which depends on the norm of the whole table.

    The returned model shares all layers and variables with `model` except the
    table.

    Args:
        model: a functional model with kbert's encoder. Its token table is
            trainable and not shared with an output; it is read now.
        used_ids: (K,) int, sorted: the ids of all tokens that will occur,
            including padding.
    Returns: the model to train, and a function that writes the trained table
        back into `model`.
    """
    whole = model.get_layer("token_embedding")
    initial_VH = ops.convert_to_numpy(whole.embeddings)
    V, H = initial_VH.shape
    num_rows = len(used_ids) + 1
    # Unused ids get a row out of range, which is an error on a CPU.
    row_V = np.full(V, num_rows, "int32")
    row_V[used_ids] = np.arange(len(used_ids))
    table = keras.layers.Embedding(
        num_rows, H, dtype=whole.dtype_policy, name=whole.name
    )
    table.build()
    ones_1H = np.ones_like(initial_VH[:1])
    table.set_weights([np.concatenate([initial_VH[used_ids], ones_1H])])
    unused_ids = np.setdiff1d(np.arange(V), used_ids)
    unused_rows = initial_VH[unused_ids]
    del initial_VH  # so that the closures below do not keep it

    def call(layer, *args, **kwargs):
        if layer is not whole:
            return layer(*args, **kwargs)
        (token_ids,) = args
        return table(ops.take(row_V, token_ids), **kwargs)

    def write_back():
        rows = ops.convert_to_tensor(table.embeddings)
        all_rows = ops.concatenate([rows[:-1], unused_rows * rows[-1]])
        order = np.argsort(np.concatenate([used_ids, unused_ids]))
        whole.embeddings.assign(ops.take(all_rows, order, axis=0))

    reduced = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call
    )
    return reduced, write_back
