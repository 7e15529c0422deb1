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

    Call: rows (B, S, H) float and attention_mask, boolean, broadcasting to
        (B, 1, S, S), True where a query may see a key -> (B, S, H) in the
        variables' dtype.
    With rows (T, H), the tokens of B texts without their padding, the caller
        also gives slot_rows (B, S) int32, the row that fills each slot of
        the padded form (any row where there is none: mask it), and row_slots
        (T, N) int32, the place (b * N + n) * S + s of each row and head in
        the padded heads (B, N, S) -> (T, H). The mask is then (B, 1, 1 or S,
        S). It may be a list, of some parts of the texts, each padded to its
        own longest one, and so are then slot_rows and positions; the heads
        of one part follow those of another.
    With positions (B, P) int32, 0 <= p < S, only the rows that stand there
        see the others and go on -> (B, P, H). This is what the last block
        of a model needs whose heads read a few positions; the numbers are
        those of the whole output, without the work for the rest of it.
    With `remat`, which may be set at any time, training keeps the rows that
        come in and computes the rest of the block again for its gradients,
        under the same dropout (Chen et al. 2016, arXiv:1604.06174, section
        3). See `rematerialize`.
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
        # Drawn here: drawn again inside, the masks would be others. Nor does
        # Keras tell layers that are called again whether they train.
        drawn = [
            training,
            # Of each part of the texts: with one seed, masks would be alike.
            [
                _seed(self._attention_dropout, training)
                for _ in _listed(attention_mask)
            ],
            _seed(self._hidden_dropout, training),
            _seed(self._output_dropout, training),
        ]

        def forward(rows):
            return self._forward(
                rows, attention_mask, slot_rows, row_slots, positions, drawn
            )

        rows = ops.cast(rows, self.variable_dtype)
        if self.remat and training:
            found = keras.remat(forward)(rows)
            # TensorFlow's remat takes no gradient of a gather; through this
            # it is a plain one.
            return ops.reshape(found, ops.shape(found))
        return forward(rows)

    def _forward(
        self, rows, attention_mask, slot_rows, row_slots, positions, drawn
    ):
        training, attention_seeds, hidden_seed, output_seed = drawn
        masks, slots = _listed(attention_mask), _listed(slot_rows)
        if positions is None:
            projected = self._dense(rows, self.qkv_kernel, self.qkv_bias)
            heads = self._heads(projected, slots, 3)
        else:
            of_queries, of_others = self._query_weights()
            heads = self._heads(self._dense(rows, *of_others), slots, 2)
            places = _listed(positions)
            asking = _rows_at(rows, slots, places)
            for i, x in enumerate(asking):
                asked = self._dense(x, *of_queries)
                ((query,),) = self._heads(asked, [None], 1)
                heads[i] = [query, *heads[i]]
                masks[i] = _queries_at(masks[i], places[i])
            rows = _joined(asking)
        contexts = [
            self._attend(query, key, value, mask, seed)
            for (query, key, value), mask, seed in zip(
                heads, masks, attention_seeds, strict=True
            )
        ]
        if row_slots is not None and positions is None:
            D = contexts[0].shape[-1]
            context = _joined([ops.reshape(x, (-1, D)) for x in contexts])
            context = ops.take(context, row_slots, axis=0)
            context = ops.reshape(context, (-1, self.num_heads * D))
        else:
            swapped = [ops.transpose(x, (0, 2, 1, 3)) for x in contexts]
            context = ops.reshape(_joined(swapped), ops.shape(rows))
        attended = self._dense(
            context, self.attention_kernel, self.attention_bias
        )
        rows = self._attention_norm(
            rows + _dropped(attended, self.dropout, hidden_seed),
            training=training,
        )
        inner = self._activation(
            self._dense(rows, self.inner_kernel, self.inner_bias),
            training=training,
        )
        output = self._dense(inner, self.output_kernel, self.output_bias)
        return self._output_norm(
            rows + _dropped(output, self.dropout, output_seed),
            training=training,
        )

    def _query_weights(self):
        """Kernel and bias of the queries, then those of keys and values."""
        H = self.qkv_kernel.shape[0]
        # The gradient of slices would be padded and summed, of the whole size.
        return zip(
            ops.split(ops.convert_to_tensor(self.qkv_kernel), [H], axis=1),
            ops.split(ops.convert_to_tensor(self.qkv_bias), [H]),
            strict=True,
        )

    def _heads(self, rows, slot_rows, count):
        """Of each part of the texts so many projections (B, N, S, D)."""
        N = self.num_heads
        D = rows.shape[-1] // (count * N)
        if slot_rows[0] is None:
            B, S = ops.shape(rows)[:2]
            BSCND = ops.reshape(rows, (B, S, count, N, D))
            return [ops.unstack(ops.transpose(BSCND, (2, 0, 3, 1, 4)), count)]
        # One gather fills the slots and puts the heads first. Its indices
        # are the same in all blocks, and TensorFlow makes them but once.
        rows = ops.reshape(rows, (-1, D))
        head_C1N1 = np.arange(count * N, dtype="int32").reshape(count, 1, N, 1)
        found = []
        for slots_BS in slot_rows:
            slots_B1S = ops.expand_dims(slots_BS, 1)
            row_CBNS = slots_B1S * (count * N) + head_C1N1
            found.append(ops.unstack(ops.take(rows, row_CBNS, axis=0), count))
        return found

    def _attend(self, query_BNQD, key_BNSD, value_BNSD, mask, seed):
        key_BNDS = ops.swapaxes(key_BNSD, -1, -2)
        scale = query_BNQD.shape[-1] ** -0.5
        scores_BNQS = self._product(query_BNQD * scale, key_BNDS)
        # Finite, so that a text of padding alone gives no NaN.
        hidden = ops.cast(ops.logical_not(mask), scores_BNQS.dtype)
        weights_BNQS = ops.softmax(scores_BNQS + hidden * -1e9)
        weights_BNQS = _dropped(weights_BNQS, self.attention_dropout, seed)
        return self._product(weights_BNQS, value_BNSD)

    def _dense(self, x, kernel, bias):
        bias = ops.convert_to_tensor(bias, self.variable_dtype)
        # Not `+`, with which TensorFlow fuses a product less often.
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
        if isinstance(positions_shape, list):  # of several parts
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


def _listed(x):
    """The parts of the texts, one if they are not apart."""
    return [*x] if isinstance(x, list) else [x]


def _joined(parts):
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=0)


def _rows_at(rows, slot_rows, positions):
    """Of each part (B, P, H), the rows that fill the slots at (B, P)."""
    flat = ops.reshape(rows, (-1, rows.shape[-1]))
    found = []
    for slots_BS, places_BP in zip(slot_rows, positions, strict=True):
        B, S = ops.shape(rows if slots_BS is None else slots_BS)[:2]
        # Flat: four times as fast as take_along_axis.
        slots_BP = places_BP + ops.expand_dims(ops.arange(B) * S, 1)
        if slots_BS is not None:
            slots_BP = ops.take(ops.reshape(slots_BS, (-1,)), slots_BP, axis=0)
        found.append(ops.take(flat, slots_BP, axis=0))
    return found


def _queries_at(mask, positions):
    """(B, 1, P or 1, S): the part of a mask for some queries."""
    if mask.shape[-2] == 1:
        return mask
    places_B1P1 = ops.expand_dims(positions, (1, -1))
    return ops.take_along_axis(mask, places_B1P1, axis=2)


class _Drawn(keras.random.SeedGenerator):
    """A seed drawn before; it has no state of its own."""

    def __init__(self, seed):
        self._seed = seed

    def next(self, ordered=True):
        return self._seed


def _seed(layer, training):
    """The next seed of a Dropout layer, None where it drops nothing."""
    if training and layer.rate:
        return _Drawn(layer.seed_generator.next())
    return None


def _dropped(x, rate, seed):
    return x if seed is None else keras.random.dropout(x, rate, seed=seed)


def rematerialize(model: keras.Model) -> None:
    """Sets `remat` of all encoder blocks of a functional model.

    Training then needs less memory and more time; the numbers are the same.
    """
    for layer in model.layers:
        if isinstance(layer, EncoderBlock):
            layer.remat = True
