# SPDX-License-Identifier: Apache-2.0
"""The token table: rows on the way in, the output matrix on the way out."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class TokenEmbedding(keras.layers.ReversibleEmbedding):
    """Keras's ReversibleEmbedding with a cheaper way out.

    Call: token_ids (...) int -> rows (..., H);
        with reverse=True hidden (..., H) float -> logits (..., V).
    Keras transposes the table for the product, so that its gradient is laid
    out the wrong way and is transposed in turn; here neither happens.
    Source: Press and Wolf 2017, arXiv:1608.05859, section 3.
    """

    def call(self, inputs, reverse=False):
        if not reverse:
            return super().call(inputs)
        dtype = self.reverse_dtype or self.compute_dtype
        hidden_PH = ops.reshape(inputs, (-1, self.output_dim))
        logits_PV = ops.einsum(  # one product on two axes, no transpose
            "ph,vh->pv",
            ops.cast(hidden_PH, dtype),
            ops.cast(self.embeddings, dtype),
        )
        shape = (*ops.shape(inputs)[:-1], self.input_dim)
        return ops.reshape(logits_PV, shape)
