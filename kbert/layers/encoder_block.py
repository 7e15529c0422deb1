# SPDX-License-Identifier: Apache-2.0
"""The Transformer encoder block: self-attention, then feed-forward."""

import keras
import numpy as np
from keras import ops

from kbert.layers.activations import activation
from kbert.layers.layer_norm import LayerNorm


@keras.saving.register_keras_serializable(package="kbert")
class EncoderBlock(keras.layers.Layer):
    """Bidirectional self-attention and a feed-forward network, post-norm.

    Call: rows (B, S, H) float and attention_mask, boolean, broadcastable to
        (B, 1, S, S), True where a query may attend to a key -> (B, S, H) in
        the variable dtype.
    Unpadded call: rows (T, H), the T tokens of B texts without padding
        -> (T, H). The texts are divided into parts, and attention pads each
        part to its own longest text, of S tokens. attention_mask and
        slot_rows are lists with an entry per part: masks (B, 1, 1, S) bool,
        and slot_rows (B, S) int32, the row that fills each slot of the
        padded form (any row where the mask is False). row_slots (T, N) int32
        is the index of each row and head in the padded heads: in a part
        (b * N + n) * S + s, after the heads of the parts before it.
    With positions (B, P) int32, 0 <= p < S (unpadded: a list with an entry
        per part), the block computes only the outputs at these positions
        -> (B, P, H). They still attend to all tokens, so the values are the
        same. The last block of a model needs no more when the heads read
        only a few positions.
    With `remat`, which may be set at any time, training keeps only the rows
        that come in and recomputes the rest of the block for its gradients,
        with the same dropout (Chen et al. 2016, arXiv:1604.06174, section
        3). See `rematerialize`.
    Matrix products run in the compute dtype; weights, sums, norms and
        softmax stay in the variable dtype.
    Raises: ValueError, when built, if the number of heads does not divide H,
        or if only one of slot_rows and row_slots is given.
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
        self.remat = False
        self._activation = activation(hidden_act)
        self._attention_norm = self._norm("attention_norm")
        self._output_norm = self._norm("output_norm")
        self._attention_dropout = self._drop(attention_dropout, "attention")
        self._hidden_dropout = self._drop(dropout, "hidden")
        self._output_dropout = self._drop(dropout, "output")

    def _norm(self, name):
        return LayerNorm(
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
        positions_shape=None,
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
        positions=None,
        training=None,
    ):
        # Seeds are drawn outside `forward`: remat calls it a second time,
        # with the same dropout and without Keras's `training`.
        fixed = [
            training,
            # One per part: with a shared seed the parts' masks would be equal.
            [
                _seed(self._attention_dropout, training)
                for _ in _as_list(attention_mask)
            ],
            _seed(self._hidden_dropout, training),
            _seed(self._output_dropout, training),
        ]

        def forward(rows):
            return self._forward(
                rows, attention_mask, slot_rows, row_slots, positions, fixed
            )

        rows = ops.cast(rows, self.variable_dtype)
        if self.remat and training:
            output = keras.remat(forward)(rows)
            # TensorFlow's remat cannot take a gather's sparse gradient; a
            # reshape makes it dense.
            return ops.reshape(output, ops.shape(output))
        return forward(rows)

    def _forward(
        self, rows, attention_mask, slot_rows, row_slots, positions, fixed
    ):
        training, attention_seeds, hidden_seed, output_seed = fixed
        masks, slots = _as_list(attention_mask), _as_list(slot_rows)
        if positions is None:
            projected = self._dense(rows, self.qkv_kernel, self.qkv_bias)
            heads = self._heads(projected, slots, 3)
        else:
            query_weights, key_value_weights = self._split_qkv_weights()
            heads = self._heads(self._dense(rows, *key_value_weights), slots, 2)
            positions = _as_list(positions)
            query_rows = _rows_at(rows, slots, positions)
            for i, x in enumerate(query_rows):
                projected = self._dense(x, *query_weights)
                ((query,),) = self._heads(projected, [None], 1)
                heads[i] = [query, *heads[i]]
                masks[i] = _mask_of_queries(masks[i], positions[i])
            rows = _concatenated(query_rows)
        contexts = [
            self._attend(query, key, value, mask, seed)
            for (query, key, value), mask, seed in zip(
                heads, masks, attention_seeds, strict=True
            )
        ]
        if row_slots is not None and positions is None:
            D = contexts[0].shape[-1]
            context = _concatenated([ops.reshape(x, (-1, D)) for x in contexts])
            context = ops.take(context, row_slots, axis=0)
            context = ops.reshape(context, (-1, self.num_heads * D))
        else:
            swapped = [ops.transpose(x, (0, 2, 1, 3)) for x in contexts]
            context = ops.reshape(_concatenated(swapped), ops.shape(rows))
        attended = self._dense(
            context, self.attention_kernel, self.attention_bias
        )
        rows = self._attention_norm(
            rows + _dropped(attended, self.dropout, hidden_seed),
            training=training,
        )
        inner = self._activation(
            self._dense(rows, self.inner_kernel, self.inner_bias)
        )
        output = self._dense(inner, self.output_kernel, self.output_bias)
        return self._output_norm(
            rows + _dropped(output, self.dropout, output_seed),
            training=training,
        )

    def _split_qkv_weights(self):
        """Returns the queries' kernel and bias, then the keys' and values'."""
        H = self.qkv_kernel.shape[0]
        # Not slices: their gradients are padded to the whole kernel and summed.
        return zip(
            ops.split(ops.convert_to_tensor(self.qkv_kernel), [H], axis=1),
            ops.split(ops.convert_to_tensor(self.qkv_bias), [H]),
            strict=True,
        )

    def _heads(self, rows, slot_rows, count):
        """Returns, for each part, `count` projections (B, N, S, D)."""
        N = self.num_heads
        D = rows.shape[-1] // (count * N)
        if slot_rows[0] is None:
            B, S = ops.shape(rows)[:2]
            BSCND = ops.reshape(rows, (B, S, count, N, D))
            return [ops.unstack(ops.transpose(BSCND, (2, 0, 3, 1, 4)), count)]
        # One gather fills the slots and moves the heads to the front. All
        # blocks have the same indices, which TensorFlow computes only once.
        rows = ops.reshape(rows, (-1, D))
        head_C1N1 = np.arange(count * N, dtype="int32").reshape(count, 1, N, 1)
        projections = []
        for slots_BS in slot_rows:
            slots_B1S = ops.expand_dims(slots_BS, 1)
            row_CBNS = slots_B1S * (count * N) + head_C1N1
            heads = ops.take(rows, row_CBNS, axis=0)
            projections.append(ops.unstack(heads, count))
        return projections

    def _attend(self, query_BNQD, key_BNSD, value_BNSD, mask, seed):
        key_BNDS = ops.swapaxes(key_BNSD, -1, -2)
        scale = query_BNQD.shape[-1] ** -0.5
        scores_BNQS = self._product(query_BNQD * scale, key_BNDS)
        # -1e9 and not -inf: a text of padding alone must not give NaN.
        masked = ops.cast(ops.logical_not(mask), scores_BNQS.dtype)
        weights_BNQS = ops.softmax(scores_BNQS + masked * -1e9)
        weights_BNQS = _dropped(weights_BNQS, self.attention_dropout, seed)
        return self._product(weights_BNQS, value_BNSD)

    def _dense(self, x, kernel, bias):
        bias = ops.convert_to_tensor(bias, self.variable_dtype)
        # TensorFlow fuses ops.add with the product more often than `+`.
        return ops.add(self._product(x, kernel), bias)

    def _product(self, x, y):
        dtype = self.compute_dtype
        product = ops.matmul(ops.cast(x, dtype), ops.cast(y, dtype))
        return ops.cast(product, self.variable_dtype)

    def compute_output_shape(
        self,
        rows_shape,
        attention_mask_shape,
        slot_rows_shape=None,
        row_slots_shape=None,
        positions_shape=None,
    ):
        if positions_shape is None:
            return rows_shape
        if isinstance(positions_shape, list):  # unpadded: an entry per part
            positions_shape = (None, positions_shape[0][1])
        return (*positions_shape, rows_shape[-1])

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


def _as_list(x):
    """Returns the parts of the unpadded form, or the padded form as one."""
    return [*x] if isinstance(x, list) else [x]


def _concatenated(parts):
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=0)


def _rows_at(rows, slot_rows, positions):
    """Returns, for each part, the rows (B, P, H) at its positions (B, P)."""
    flat = ops.reshape(rows, (-1, rows.shape[-1]))
    selected = []
    for slots_BS, positions_BP in zip(slot_rows, positions, strict=True):
        B, S = ops.shape(rows if slots_BS is None else slots_BS)[:2]
        # Flat indices: four times as fast as take_along_axis.
        row_BP = positions_BP + ops.expand_dims(ops.arange(B) * S, 1)
        if slots_BS is not None:
            row_BP = ops.take(ops.reshape(slots_BS, (-1,)), row_BP, axis=0)
        selected.append(ops.take(flat, row_BP, axis=0))
    return selected


def _mask_of_queries(mask, positions):
    """Returns the rows of a mask for some queries: (B, 1, P or 1, S)."""
    if mask.shape[-2] == 1:
        return mask
    positions_B1P1 = ops.expand_dims(positions, (1, -1))
    return ops.take_along_axis(mask, positions_B1P1, axis=2)


class _FixedSeed(keras.random.SeedGenerator):
    """A seed that was drawn before; it has no state."""

    def __init__(self, seed):
        self._seed = seed

    def next(self, ordered=True):
        return self._seed


def _seed(layer, training):
    """Draws the next seed of a Dropout layer; None where it drops nothing."""
    if training and layer.rate:
        return _FixedSeed(layer.seed_generator.next())
    return None


def _dropped(x, rate, seed):
    return x if seed is None else keras.random.dropout(x, rate, seed=seed)


def rematerialize(model: keras.Model) -> None:
    """Sets `remat` on all encoder blocks of a functional model.

    Training then needs less memory and more time; the results are the same.
    """
    for layer in model.layers:
        if isinstance(layer, EncoderBlock):
            layer.remat = True
