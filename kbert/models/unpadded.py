# SPDX-License-Identifier: Apache-2.0
"""A model's layers without the work for padding, to answer or to train."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from kbert import features
from kbert.layers import EncoderBlock
from kbert.models.encoder import call_layers


def without_padding(model: keras.Model, num_parts: int = 4) -> keras.Model:
    """The same model, whose dense layers see no padding.

    Between the embeddings and the heads the tokens of all rows stand one
    after another, (T, H). Attention alone pads them, equal parts of the
    rows apart, each of like length and to its own longest; a row has one
    token at least. Inputs, outputs and layers are those of `model`, so it
    follows whatever they learn, and what it learns is theirs. The numbers
    are the same but for padding, where what the blocks give is 0, and for
    dropout's masks.

    Blocks of a model for packed rows stay as they are.

    Args:
        model: functional, with kbert's encoder.
        num_parts: the more, the less padding in attention, and the more
            operations; four serve batches of all lengths, two are faster
            where a batch's texts are of like length.
    """
    unpadded = _Unpadded(num_parts)
    return keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=unpadded.call
    )


def encoder_of(model: keras.Model) -> keras.Model:
    """The encoder inside a model, with its layers: sequence (B, S, H).

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32.
    """
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    num_blocks = sum(isinstance(x, EncoderBlock) for x in model.layers)
    rows = call_layers(model.get_layer, num_blocks, inputs)[-1]
    return keras.Model(inputs, {features.SEQUENCE: rows}, name="encoder")


class _Parts(NamedTuple):
    """How rows (T, H) attend, in parts of texts of like length.

    Attributes:
        is_token: (B, S) bool, of the padded form.
        slot_rows: (B, S) int32, the row of each slot of that.
        token_slots: (T,) int32, the slots b * S + s of the rows.
        texts: of each part, (B',) int32.
        masks: of each part, (B', 1, 1, S') bool, as EncoderBlock takes it.
        part_slot_rows: of each part, (B', S') int32, likewise.
        row_slots: (T, N) int32, likewise.
    """

    is_token: Any
    slot_rows: Any
    token_slots: Any
    texts: list[Any]
    masks: list[Any]
    part_slot_rows: list[Any]
    row_slots: Any


class _Unpadded:
    """Calls layers; encoder blocks on rows (T, H).

    What a block gives is padded again for whatever else may read it: the next
    block does not, and what nothing reads is no part of the graph.
    """

    def __init__(self, num_parts):
        self._num_parts = num_parts
        self._parts: dict[int, _Parts] = {}  # by a mask's id
        self._rows: dict[int, Any] = {}  # (T, H), by the id of (B, S, H)
        self._seen: list[Any] = []  # alive, so that no id comes twice

    def call(self, layer, *args, **kwargs):
        if not isinstance(layer, EncoderBlock):
            return layer(*args, **kwargs)
        padded, mask = args
        if mask.shape[-2] != 1:
            return layer(padded, mask, **kwargs)
        if id(mask) not in self._parts:
            self._parts[id(mask)] = _parts(
                mask[:, 0, 0], layer.num_heads, self._num_parts
            )
            self._seen.append(mask)
        parts = self._parts[id(mask)]
        rows = self._rows.get(id(padded))
        if rows is None:
            rows = ops.reshape(padded, (-1, padded.shape[-1]))
            rows = ops.take(rows, parts.token_slots, axis=0)
        slots = (parts.masks, parts.part_slot_rows, parts.row_slots)
        positions = kwargs.get("positions")
        if positions is not None:
            by_part = [ops.take(positions, x, axis=0) for x in parts.texts]
            found = layer(rows, *slots, positions=by_part)
            order = ops.argsort(ops.concatenate(parts.texts))
            return ops.take(found, order, axis=0)
        rows = layer(rows, *slots)
        padded = ops.where(
            ops.expand_dims(parts.is_token, -1),
            ops.take(rows, parts.slot_rows, axis=0),
            0.0,
        )
        self._rows[id(padded)] = rows
        self._seen.append(padded)
        return padded


def _parts(is_token_BS, num_heads, num_parts) -> _Parts:
    one_BS = ops.cast(is_token_BS, "int32")
    count_B = ops.sum(one_BS, axis=1)
    before_B = ops.cumsum(count_B) - count_B
    number_BS = ops.cumsum(one_BS, axis=1)
    slot_rows = ops.maximum(ops.expand_dims(before_B, 1) + number_BS - 1, 0)
    (token_slots,) = ops.nonzero(ops.reshape(is_token_BS, (-1,)))

    rank_B = ops.argsort(ops.argsort(count_B))
    total, _ = _count(count_B)
    total = ops.maximum(total, 1)
    part_B = ops.floor_divide(rank_B * num_parts, total)
    head_N = np.arange(num_heads, dtype="int32")
    texts, masks, by_part, places, start = [], [], [], [], 0
    for part in range(num_parts):
        (some,) = ops.nonzero(ops.equal(part_B, part))
        is_token = ops.take(is_token_BS, some, axis=0)
        (columns,) = ops.nonzero(ops.any(is_token, axis=0))
        is_token = ops.take(is_token, columns, axis=1)
        rows = ops.take(ops.take(slot_rows, some, axis=0), columns, axis=1)
        texts.append(some)
        masks.append(ops.expand_dims(is_token, (1, 2)))
        by_part.append(rows)
        B, text_B = _count(some)
        S, slot_S = _count(columns)
        text_B11 = ops.expand_dims(text_B * (num_heads * S), (1, 2))
        place_BSN = text_B11 + ops.expand_dims(slot_S, 1) + S * head_N
        places.append(ops.reshape(start + place_BSN, (-1, num_heads)))
        start = start + B * num_heads * S
    (slots,) = ops.nonzero(_flat(masks))
    row_of_slot = ops.take(_flat(by_part), slots, axis=0)
    slots = ops.take(slots, ops.argsort(row_of_slot), axis=0)
    row_slots = ops.take(ops.concatenate(places), slots, axis=0)
    return _Parts(
        is_token_BS, slot_rows, token_slots, texts, masks, by_part, row_slots
    )


def _count(some):
    """How many there are, and 0, 1, ...; `ops.shape` asks no KerasTensor."""
    ones = ops.ones_like(some)
    return ops.sum(ones), ops.cumsum(ones) - 1


def _flat(arrays):
    return ops.concatenate([ops.reshape(x, (-1,)) for x in arrays])
