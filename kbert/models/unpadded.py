# SPDX-License-Identifier: Apache-2.0
"""Rewrites a model so that it does no work for padding."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from kbert import features
from kbert.layers import EncoderBlock
from kbert.models.encoder import call_layers


def without_padding(model: keras.Model, num_parts: int = 4) -> keras.Model:
    """Returns the same model, with dense layers that skip padding.

    Between the embeddings and the heads the tokens of all rows are
    concatenated, (T, H). Only attention pads them: it divides the rows by
    length into parts of equal size, and pads each part to its longest row. A
    row needs at least one token. The returned model has the inputs, outputs
    and layers of `model`, so training either changes both. The values are the
    same except at padding positions, where the blocks output 0, and except
    for the dropout masks.

    The blocks of a model for packed rows are left unchanged.

    Args:
        model: a functional model with kbert's encoder.
        num_parts: the number of parts. More parts mean less padding in
            attention and more operations: four suit batches of mixed lengths,
            two are faster for batches of similar lengths.
    """
    unpadded = _Unpadded(num_parts)
    return keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=unpadded.call
    )


def encoder_of(model: keras.Model) -> keras.Model:
    """Returns the encoder inside a model; it shares the model's layers.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32.
    Outputs: sequence (B, S, H).
    """
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    num_blocks = sum(isinstance(x, EncoderBlock) for x in model.layers)
    rows = call_layers(model.get_layer, num_blocks, inputs)[-1]
    return keras.Model(inputs, {features.SEQUENCE: rows}, name="encoder")


class _Parts(NamedTuple):
    """The index tensors between rows (T, H) and padded parts.

    Attributes:
        is_token: (B, S) bool, False at padding.
        slot_rows: (B, S) int32, the row of each slot of the padded form.
        token_slots: (T,) int32, the slot b * S + s of each row.
        texts: for each part, (B',) int32, the indices of its texts.
        masks: for each part, (B', 1, 1, S') bool, for EncoderBlock.
        part_slot_rows: for each part, (B', S') int32, for EncoderBlock.
        row_slots: (T, N) int32, for EncoderBlock.
    """

    is_token: Any
    slot_rows: Any
    token_slots: Any
    texts: list[Any]
    masks: list[Any]
    part_slot_rows: list[Any]
    row_slots: Any


class _Unpadded:
    """Calls layers; encoder blocks are called on rows (T, H).

    The output of a block is also padded again, for heads that read it. The
    next block reads the rows; padded outputs that nothing reads are not part
    of the graph.
    """

    def __init__(self, num_parts):
        self._num_parts = num_parts
        self._parts: dict[keras.KerasTensor, _Parts] = {}  # by the mask
        self._rows: dict[keras.KerasTensor, Any] = {}  # by the padded form

    def call(self, layer, *args, **kwargs):
        if not isinstance(layer, EncoderBlock):
            return layer(*args, **kwargs)
        padded, mask = args
        if mask.shape[-2] != 1:
            return layer(padded, mask, **kwargs)
        if mask not in self._parts:
            self._parts[mask] = _parts(
                mask[:, 0, 0], layer.num_heads, self._num_parts
            )
        parts = self._parts[mask]
        rows = self._rows.get(padded)
        if rows is None:
            rows = ops.reshape(padded, (-1, padded.shape[-1]))
            rows = ops.take(rows, parts.token_slots, axis=0)
        slots = (parts.masks, parts.part_slot_rows, parts.row_slots)
        positions = kwargs.get("positions")
        if positions is not None:
            by_part = [ops.take(positions, x, axis=0) for x in parts.texts]
            output = layer(rows, *slots, positions=by_part)
            order = ops.argsort(ops.concatenate(parts.texts))
            return ops.take(output, order, axis=0)
        rows = layer(rows, *slots)
        padded = ops.where(
            ops.expand_dims(parts.is_token, -1),
            ops.take(rows, parts.slot_rows, axis=0),
            0.0,
        )
        self._rows[padded] = rows
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
    texts, masks, part_slot_rows, indices, start = [], [], [], [], 0
    for part in range(num_parts):
        (in_part,) = ops.nonzero(ops.equal(part_B, part))
        is_token = ops.take(is_token_BS, in_part, axis=0)
        (columns,) = ops.nonzero(ops.any(is_token, axis=0))
        is_token = ops.take(is_token, columns, axis=1)
        rows = ops.take(ops.take(slot_rows, in_part, axis=0), columns, axis=1)
        texts.append(in_part)
        masks.append(ops.expand_dims(is_token, (1, 2)))
        part_slot_rows.append(rows)
        B, text_B = _count(in_part)
        S, slot_S = _count(columns)
        text_B11 = ops.expand_dims(text_B * (num_heads * S), (1, 2))
        index_BSN = text_B11 + ops.expand_dims(slot_S, 1) + S * head_N
        indices.append(ops.reshape(start + index_BSN, (-1, num_heads)))
        start = start + B * num_heads * S
    (slots,) = ops.nonzero(_flat(masks))
    row_of_slot = ops.take(_flat(part_slot_rows), slots, axis=0)
    slots = ops.take(slots, ops.argsort(row_of_slot), axis=0)
    row_slots = ops.take(ops.concatenate(indices), slots, axis=0)
    return _Parts(
        is_token_BS,
        slot_rows,
        token_slots,
        texts,
        masks,
        part_slot_rows,
        row_slots,
    )


def _count(values):
    """Returns the length n and 0 ... n - 1, also where n is not static."""
    ones = ops.ones_like(values)
    return ops.sum(ones), ops.cumsum(ones) - 1


def _flat(arrays):
    return ops.concatenate([ops.reshape(x, (-1,)) for x in arrays])
