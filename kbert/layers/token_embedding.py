# SPDX-License-Identifier: Apache-2.0
"""The token table: rows on the way in, the output matrix on the way out."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class TokenEmbedding(keras.layers.ReversibleEmbedding):
    """Keras's ReversibleEmbedding with a cheaper way out.

    Call: token_ids (...) int -> rows (..., H);
        with reverse=True hidden (..., H) float -> logits (..., V).
    Left to itself, the gradient of the table is made as (H, V), the slow way
    round, and then transposed.
    Source: Press and Wolf 2017, arXiv:1608.05859, section 3.
    """

    def call(self, inputs, reverse=False):
        if not reverse:
            return super().call(inputs)
        dtype = self.reverse_dtype or self.compute_dtype
        hidden_PH = ops.reshape(inputs, (-1, self.output_dim))
        table_VH = ops.convert_to_tensor(self.embeddings)
        logits_PV = _product(
            ops.cast(hidden_PH, dtype), ops.cast(table_VH, dtype)
        )
        shape = (*ops.shape(inputs)[:-1], self.input_dim)
        return ops.reshape(logits_PV, shape)


@ops.custom_gradient
def _product(hidden_PH, table_VH):
    """The (P, V) product, and its gradients without a transposition."""

    def gradients(*args, upstream=None):
        upstream_PV = args[0] if upstream is None else upstream
        return (
            ops.matmul(upstream_PV, table_VH),
            ops.matmul(ops.transpose(upstream_PV), hidden_PH),
        )

    return ops.matmul(hidden_PH, ops.transpose(table_VH)), gradients
