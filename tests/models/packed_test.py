# SPDX-License-Identifier: Apache-2.0
"""Several texts in a row against each in a separate row."""

import dataclasses

import numpy as np
import pytest

from kbert import features, models
from kbert.data import record_batches, record_sets, records

LENGTH, PREDICTIONS = 24, 6


@pytest.fixture
def config(tiny_config):
    # Weights large enough for each input to move the output.
    return dataclasses.replace(tiny_config, initializer_range=0.5)


@pytest.fixture(scope="module")
def texts():
    """[CLS] words [SEP], 3 to 24 tokens, some with masked positions."""
    draw = np.random.default_rng(4)
    texts = []
    for length in draw.choice([3, 4, 5, 6, 8, 11, 15, 20, 24], 40).tolist():
        token_ids = [2, *draw.integers(4, 15, length - 2).tolist(), 3]
        segment_ids = (np.arange(length) > length // 2).astype(int).tolist()
        count = min(length - 2, int(draw.integers(0, 3)))
        positions = draw.permutation(np.arange(1, length - 1))[:count]
        texts.append((token_ids, segment_ids, sorted(positions.tolist())))
    return texts


def _filled(rows):
    """Each row a list of texts: features as records hold them."""
    shapes = dict.fromkeys(features.ENCODER_INPUTS, (LENGTH, "int32"))
    shapes |= dict.fromkeys(("mask_positions", "mask_ids"), (PREDICTIONS, int))
    shapes["mask_weights"] = (PREDICTIONS, "float32")
    filled = {
        name: np.zeros((len(rows), columns), dtype)
        for name, (columns, dtype) in shapes.items()
    }
    for row, some in enumerate(rows):
        end = count = 0
        for number, (token_ids, segment_ids, positions) in enumerate(some, 1):
            here = slice(end, end + len(token_ids))
            filled["token_ids"][row, here] = token_ids
            filled["segment_ids"][row, here] = segment_ids
            filled["padding_mask"][row, here] = number
            for position in positions:
                filled["mask_positions"][row, count] = end + position
                filled["mask_ids"][row, count] = token_ids[position]
                filled["mask_weights"][row, count] = 1.0
                count += 1
            end = here.stop
    return filled


def _packed(texts):
    """Texts in their order, in as many rows as they need."""
    rows, free = [], 0
    for text in texts:
        if len(text[0]) > free:
            rows.append([])
            free = LENGTH
        rows[-1].append(text)
        free -= len(text[0])
    return rows


def _read(path, rows, vocabulary):
    """All rows in one batch, through a file of records."""
    records.write(str(path), [records.serialize(_filled(rows))])
    found = record_sets.find(str(path), vocabulary=vocabulary)
    assert found.row == (LENGTH, PREDICTIONS, False, True)
    [batch] = record_batches.dataset(found, batch_size=len(rows), seed=None)
    return batch


def _largest(got, want):
    assert got.shape == want.shape
    return np.abs(got - want).max() / np.abs(want).max()


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_a_packed_text_is_as_in_a_separate_row(
    config, texts, vocabulary, tmp_path, positions
):
    config = dataclasses.replace(config, position_embedding=positions)
    packed = _packed(texts)
    assert max(map(len, packed)) > 2 and min(map(len, packed)) == 1
    one_by_one = _read(tmp_path / "one", [[text] for text in texts], vocabulary)
    together = _read(tmp_path / "packed", packed, vocabulary)
    for build in (models.build_encoder, _mlm):
        plain, model = build(config), build(config, packed=True)
        model.set_weights(plain.get_weights())
        want, got = _texts_of(plain, one_by_one), _texts_of(model, together)
        assert _largest(got, want) <= 1e-5
        # And the plain model, on packed rows, is not.
        assert _largest(_texts_of(plain, together), want) > 1e-2


def _mlm(config, packed=False):
    return models.build_pretrainer(config, [features.MLM_LOGITS], packed)


def _texts_of(model, batch):
    """The outputs (texts' tokens or predictions, ...), in order."""
    inputs, _, weights = batch
    outputs = model({name: inputs[name] for name in model.input})
    if features.SEQUENCE in outputs:
        return outputs[features.SEQUENCE].numpy()[inputs["padding_mask"] > 0]
    predicted = weights[features.MLM_LOGITS].numpy() > 0
    return outputs[features.MLM_LOGITS].numpy()[predicted]


def test_rows_of_one_text_are_the_same_in_both_models(config, batch):
    plain, packed = (
        models.build_pretrainer(config, packed=packed)
        for packed in (False, True)
    )
    packed.set_weights(plain.get_weights())
    want, got = plain(batch), packed(batch)
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert _largest(got[name].numpy(), value.numpy()) <= 1e-5
