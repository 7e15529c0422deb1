# SPDX-License-Identifier: Apache-2.0
"""A trained model for answering: its layers, without the work for padding."""

from typing import Any

import keras
from keras import ops

from kbert import features
from kbert.layers import EncoderBlock
from kbert.models.encoder import call_layers


def without_padding(model: keras.Model) -> keras.Model:
    """The same model, whose dense layers see no padding.

    Between the embeddings and the heads the tokens of all rows stand one
    after another, (T, H); attention alone pads them. Inputs, outputs and
    layers are those of `model`, so it follows whatever they learn. The numbers
    are the same but for padding, where what the blocks give is 0.

    Blocks of a model for packed rows stay as they are.
    """
    unpadded = _Unpadded()
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


class _Unpadded:
    """Calls layers; encoder blocks on rows (T, H).

    What a block gives is padded again for whatever else may read it: the next
    block does not, and what nothing reads is no part of the graph.
    """

    def __init__(self):
        self._slots: dict[int, tuple[Any, Any]] = {}  # by a mask's id
        self._rows: dict[int, Any] = {}  # (T, H), by the id of (B, S, H)
        self._seen: list[Any] = []  # alive, so that no id comes twice

    def call(self, layer, *args, **kwargs):
        if not isinstance(layer, EncoderBlock):
            return layer(*args, **kwargs)
        padded, mask = args
        if mask.shape[-2] != 1:
            return layer(padded, mask, **kwargs)
        slot_rows, row_slots = self._slots_of(mask)
        rows = self._rows.get(id(padded))
        if rows is None:
            rows = ops.reshape(padded, (-1, padded.shape[-1]))
            rows = ops.take(rows, row_slots, axis=0)
        rows = layer(rows, mask, slot_rows, row_slots, **kwargs)
        if kwargs.get("positions") is not None:
            return rows
        padded = ops.where(
            ops.expand_dims(mask[:, 0, 0], -1),
            ops.take(rows, slot_rows, axis=0),
            0.0,
        )
        self._rows[id(padded)] = rows
        self._seen.append(padded)
        return padded

    def _slots_of(self, mask_B11S):
        """slot_rows (B, S) and row_slots (T,), as EncoderBlock takes them."""
        if id(mask_B11S) not in self._slots:
            is_token_BS = mask_B11S[:, 0, 0]
            (row_slots,) = ops.nonzero(ops.reshape(is_token_BS, (-1,)))
            one_BS = ops.cast(is_token_BS, "int32")
            number_BS = ops.cumsum(one_BS, axis=1)
            count_B = ops.sum(one_BS, axis=1)
            before_B = ops.cumsum(count_B) - count_B
            slot_rows = ops.expand_dims(before_B, 1) + number_BS - 1
            slot_rows = ops.maximum(slot_rows, 0)
            self._slots[id(mask_B11S)] = slot_rows, row_slots
            self._seen.append(mask_B11S)
        return self._slots[id(mask_B11S)]
