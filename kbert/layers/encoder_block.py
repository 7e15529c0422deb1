# SPDX-License-Identifier: Apache-2.0
"""The Transformer encoder block: self-attention, then feed-forward."""

import keras
from keras import ops

from kbert.layers.activations import activation


@keras.saving.register_keras_serializable(package="kbert")
class EncoderBlock(keras.layers.Layer):
    """Bidirectional self-attention and a feed-forward network, post-norm.

    Call: rows (B, S, H) float and attention_mask, boolean, broadcasting to
        (B, 1, S, S), True where a query may see a key -> (B, S, H) in the
        variables' dtype.
    With rows (T, H), the tokens of B texts without their padding, the caller
        also gives slot_rows (B, S) int32, the row that fills each slot of
        the padded form (any row where there is none: mask it), and
        row_slots (T,) int32, the slot b * S + s of each row -> (T, H).
    Matrix products run in the compute dtype; weights, sums, norms and
        softmax stay in the variables' dtype.
    Raises: ValueError, when built, if the heads do not divide H, or if one
        of slot_rows and row_slots is missing.
    Source: Vaswani et al. 2017, arXiv:1706.03762, sections 3.1 to 3.3;
        Devlin et al. 2019, arXiv:1810.04805, section 3.
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_size: int,
        hidden_act: str,
        layer_norm_epsilon: float,
        dropout: float,
        attention_dropout: float,
        initializer_range: float,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.num_heads = num_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.layer_norm_epsilon = layer_norm_epsilon
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.initializer_range = initializer_range
        self._activation = activation(hidden_act)
        self._attention_norm = self._norm("attention_norm")
        self._output_norm = self._norm("output_norm")
        self._attention_dropout = self._drop(attention_dropout, "attention")
        self._hidden_dropout = self._drop(dropout, "hidden")
        self._output_dropout = self._drop(dropout, "output")

    def _norm(self, name):
        return keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon,
            dtype=self.variable_dtype,
            name=name,
        )

    def _drop(self, rate, name):
        return keras.layers.Dropout(
            rate, dtype=self.variable_dtype, name=f"{name}_dropout"
        )

    def build(
        self,
        rows_shape,
        attention_mask_shape,
        slot_rows_shape=None,
        row_slots_shape=None,
    ):
        H = rows_shape[-1]
        if H % self.num_heads:
            raise ValueError(
                f"{self.name}: {self.num_heads} heads do not divide {H}."
            )
        if (slot_rows_shape is None) != (row_slots_shape is None):
            raise ValueError(
                f"{self.name}: slot_rows and row_slots belong together."
            )
        self.qkv_kernel, self.qkv_bias = self._dense_weights("qkv", H, 3 * H)
        self.attention_kernel, self.attention_bias = self._dense_weights(
            "attention_output", H, H
        )
        self.inner_kernel, self.inner_bias = self._dense_weights(
            "intermediate", H, self.intermediate_size
        )
        self.output_kernel, self.output_bias = self._dense_weights(
            "output", self.intermediate_size, H
        )
        self._attention_norm.build(rows_shape)
        self._output_norm.build(rows_shape)

    def _dense_weights(self, name, inputs, outputs):
        kernel = self.add_weight(
            name=f"{name}_kernel",
            shape=(inputs, outputs),
            initializer=keras.initializers.TruncatedNormal(
                stddev=self.initializer_range
            ),
        )
        bias = self.add_weight(
            name=f"{name}_bias", shape=(outputs,), initializer="zeros"
        )
        return kernel, bias

    def call(
        self,
        rows,
        attention_mask,
        slot_rows=None,
        row_slots=None,
        training=None,
    ):
        rows = ops.cast(rows, self.variable_dtype)
        qkv = self._dense(rows, self.qkv_kernel, self.qkv_bias)
        if slot_rows is not None:
            qkv = ops.take(qkv, slot_rows, axis=0)
        context = self._attend(qkv, attention_mask, training)
        if row_slots is not None:
            context = ops.reshape(context, (-1, rows.shape[-1]))
            context = ops.take(context, row_slots, axis=0)
        attended = self._dense(
            context, self.attention_kernel, self.attention_bias
        )
        rows = self._attention_norm(
            rows + self._hidden_dropout(attended, training=training)
        )
        inner = self._activation(
            self._dense(rows, self.inner_kernel, self.inner_bias)
        )
        output = self._dense(inner, self.output_kernel, self.output_bias)
        return self._output_norm(
            rows + self._output_dropout(output, training=training)
        )

    def _attend(self, qkv_BS3H, attention_mask, training):
        B, S, width = ops.shape(qkv_BS3H)
        N, D = self.num_heads, width // 3 // self.num_heads
        qkv_BS3ND = ops.reshape(qkv_BS3H, (B, S, 3, N, D))
        qkv_3BNSD = ops.transpose(qkv_BS3ND, (2, 0, 3, 1, 4))
        query, key, value = ops.unstack(qkv_3BNSD, 3)
        key_BNDS = ops.swapaxes(key, -1, -2)
        scores_BNSS = self._product(query * D**-0.5, key_BNDS)
        # Finite, so that a text of padding alone gives no NaN.
        hidden = ops.cast(ops.logical_not(attention_mask), scores_BNSS.dtype)
        weights_BNSS = ops.softmax(scores_BNSS + hidden * -1e9)
        weights_BNSS = self._attention_dropout(weights_BNSS, training=training)
        context_BNSD = self._product(weights_BNSS, value)
        context_BSND = ops.transpose(context_BNSD, (0, 2, 1, 3))
        return ops.reshape(context_BSND, (B, S, N * D))

    def _dense(self, x, kernel, bias):
        bias = ops.convert_to_tensor(bias, self.variable_dtype)
        return self._product(x, kernel) + bias

    def _product(self, x, y):
        dtype = self.compute_dtype
        product = ops.matmul(ops.cast(x, dtype), ops.cast(y, dtype))
        return ops.cast(product, self.variable_dtype)

    def compute_output_shape(self, rows_shape, *_):
        return rows_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "intermediate_size": self.intermediate_size,
            "hidden_act": self.hidden_act,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "initializer_range": self.initializer_range,
        }
