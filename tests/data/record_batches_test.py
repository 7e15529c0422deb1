# SPDX-License-Identifier: Apache-2.0
import dataclasses
import itertools
import pathlib

import keras
import numpy as np
import pytest

from kbert.data import record_batches, record_sets, records
from kbert.data.masking import Masking
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

NUM_ROWS = 100
FILES = 5


WORDS = tuple(f"word{i}" for i in range(1100))
VOCABULARY = Vocabulary((*SPECIAL_TOKENS, *WORDS), lower_case=True)


@pytest.fixture(scope="module")
def record_set(tmp_path_factory):
    """Row i has i in all its token ids; files of 20 rows."""
    folder = tmp_path_factory.mktemp("rows")
    paths = []
    for first in range(0, NUM_ROWS, NUM_ROWS // FILES):
        numbers = np.arange(first, first + NUM_ROWS // FILES)
        weights = np.ones((len(numbers), 3), "float32")
        weights[:, 2] = numbers % 2  # every other row has two predictions
        rows = {
            "token_ids": np.repeat(numbers[:, None], 6, 1),
            "padding_mask": np.ones((len(numbers), 6)),
            "segment_ids": np.repeat(numbers[:, None] % 2, 6, 1),
            "mask_positions": np.repeat(numbers[:, None] % 5, 3, 1),
            "mask_ids": np.repeat(numbers[:, None] + 1000, 3, 1),
            "mask_weights": weights,
            "next_sentence_labels": numbers % 3 == 0,
        }
        paths.append(str(folder / f"{first:03}.tfrecord"))
        records.write(paths[-1], [records.serialize(rows)])
    return record_sets.find(",".join(paths), vocabulary=VOCABULARY)


def first_batches(record_set, count, **options):
    batches = record_batches.dataset(record_set, **options)
    return list(itertools.islice(batches.as_numpy_iterator(), count))


def row_numbers(batches):
    return np.concatenate(
        [inputs["token_ids"][:, 0] for inputs, _, _ in batches]
    )


def test_a_batch_is_what_the_model_takes(record_set):
    batches = record_batches.dataset(record_set, batch_size=7, seed=None)
    inputs, labels, weights = next(batches.as_numpy_iterator())
    assert inputs["token_ids"].tolist() == [[i] * 6 for i in range(7)]
    assert inputs["segment_ids"].tolist() == [[i % 2] * 6 for i in range(7)]
    assert inputs["padding_mask"].tolist() == [[1] * 6] * 7
    assert inputs["mask_positions"].tolist() == [[i % 5] * 3 for i in range(7)]
    assert labels["mlm_logits"].tolist() == [[1000 + i] * 3 for i in range(7)]
    assert labels["nsp_logits"].tolist() == [1, 0, 0, 1, 0, 0, 1]
    assert weights["nsp_logits"].tolist() == [1.0] * 7
    for part in (inputs, labels):
        assert {value.dtype.name for value in part.values()} == {"int32"}
    for value in weights.values():
        assert value.dtype == np.float32
    assert [len(part) for part in (inputs, labels, weights)] == [4, 2, 2]


def test_weights_make_the_mean_over_predictions(record_set):
    [(_, labels, weights)] = first_batches(
        record_set, 1, batch_size=7, seed=None
    )
    draw = np.random.default_rng(0)
    losses = draw.random(labels["mlm_logits"].shape)
    counts = [3 if row % 2 else 2 for row in range(7)]
    predicted = [losses[row, :n] for row, n in enumerate(counts)]
    np.testing.assert_allclose(
        np.mean(losses * weights["mlm_logits"]),
        np.mean(np.concatenate(predicted)),
        rtol=1e-6,
    )


def test_evaluation_is_one_pass_in_order(record_set):
    batches = first_batches(record_set, 1000, batch_size=32, seed=None)
    assert row_numbers(batches).tolist() == list(range(NUM_ROWS))
    assert len(batches[-1][0]["token_ids"]) == NUM_ROWS % 32


def test_training_shuffles_each_epoch_anew_and_does_not_end(record_set):
    batches = first_batches(record_set, 30, batch_size=10, seed=1)
    epochs = row_numbers(batches).reshape(3, NUM_ROWS)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(NUM_ROWS))
        assert np.corrcoef(epoch, np.arange(NUM_ROWS))[0, 1] < 0.5
    assert (epochs[0] == epochs[1]).mean() < 0.1
    assert (epochs[1] == epochs[2]).mean() < 0.1


def test_a_seed_decides_the_order_and_nothing_else_does(record_set):
    def order(seed):
        batches = first_batches(record_set, 10, batch_size=10, seed=seed)
        return row_numbers(batches).tolist()

    first = order(1)
    keras.utils.set_random_seed(3)
    assert order(1) == first
    assert order(2) != first


def test_training_batches_are_full_across_epochs(record_set):
    batches = first_batches(record_set, 9, batch_size=32, seed=1)
    assert {len(inputs["token_ids"]) for inputs, _, _ in batches} == {32}
    spec, _, _ = record_batches.dataset(
        record_set, batch_size=32, seed=1
    ).element_spec
    assert spec["token_ids"].shape == (32, 6)
    assert spec["mask_positions"].shape == (32, 3)


@pytest.mark.parametrize("first_step", [0, 1, 3, 4, 9, 10])
def test_a_run_resumes_where_it_was(record_set, first_step, monkeypatch):
    monkeypatch.setattr(record_batches, "_SHUFFLE_WINDOW", 32)
    whole = first_batches(record_set, 16, batch_size=32, seed=5)
    rest = first_batches(
        record_set, 5, batch_size=32, seed=5, first_step=first_step
    )
    expected = whole[first_step : first_step + 5]
    np.testing.assert_array_equal(row_numbers(rest), row_numbers(expected))


def test_label_entropies_count_predictions_only(record_set):
    batches = record_batches.dataset(record_set, batch_size=32, seed=None)
    # Labels 1000 to 1099: three each of 50 rows, two each of the others.
    three, two = 3 / 250, 2 / 250
    mlm = -50 * (three * np.log(three) + two * np.log(two))
    nsp = -(0.34 * np.log(0.34) + 0.66 * np.log(0.66))
    assert record_batches.label_entropies(batches) == pytest.approx(
        {"mlm_label_entropy": mlm, "nsp_label_entropy": nsp}
    )


def test_rows_without_a_prediction_weigh_nothing(tmp_path):
    rows = {
        name: np.ones((2, columns))
        for name, columns in (
            *(("token_ids", 4), ("padding_mask", 4), ("segment_ids", 4)),
            *(("mask_positions", 3), ("mask_ids", 3)),
        )
    }
    rows["mask_weights"] = np.zeros((2, 3), "float32")
    rows["next_sentence_labels"] = np.zeros(2)
    path = str(tmp_path / "rows.tfrecord")
    records.write(path, [records.serialize(rows)])
    record_set = record_sets.find(path, vocabulary=VOCABULARY)
    [(_, _, weights)] = first_batches(record_set, 9, batch_size=2, seed=None)
    assert weights["mlm_logits"].tolist() == [[0.0] * 3] * 2


def test_damage_is_named_while_training(record_set, tmp_path):
    bad = tmp_path / "bad.tfrecord"
    content = bytearray(pathlib.Path(record_set.files[3]).read_bytes())
    content[500] ^= 1
    bad.write_bytes(content)
    files = (*record_set.files[:3], str(bad))
    record_set = dataclasses.replace(record_set, files=files)
    with pytest.raises(ValueError, match=r"bad\.tfrecord: damaged"):
        with record_set.explain_damage():
            first_batches(record_set, 20, batch_size=10, seed=0)


MASKING = Masking(
    max_predictions=3, masked_lm_prob=0.2, whole_words=False, max_ngram=2
)


@pytest.fixture(scope="module")
def unmasked(tmp_path_factory):
    """Row i has 10 tokens 6 + i, without predictions and labels."""
    folder = tmp_path_factory.mktemp("unmasked")
    paths = []
    for first in range(0, NUM_ROWS, 20):
        numbers = np.arange(first, first + 20)[:, None]
        rows = {
            "token_ids": np.repeat(6 + numbers, 10, 1),
            "padding_mask": np.ones((20, 10)),
            "segment_ids": np.zeros((20, 10)),
        }
        paths.append(str(folder / f"{first:03}.tfrecord"))
        records.write(paths[-1], [records.serialize(rows)])
    return record_sets.find(",".join(paths), vocabulary=VOCABULARY)


def masks_of_rows(batches):
    """Row number -> its positions, which must all hide its own token."""
    masks = {}
    for inputs, labels, weights in batches:
        for row, count in enumerate((weights["mlm_logits"] > 0).sum(1)):
            [number] = {*labels["mlm_logits"][row, :count].tolist()}
            positions = inputs["mask_positions"][row, :count].tolist()
            kept = np.delete(inputs["token_ids"][row], positions)
            assert {*kept.tolist()} == {number}
            assert positions == sorted(set(positions)) and count == 2
            masks[number - 6] = positions
    return masks


def test_each_epoch_masks_afresh(unmasked):
    batches = first_batches(
        unmasked, 20, batch_size=10, seed=3, masking=MASKING
    )
    first, second = (masks_of_rows(batches[i : i + 10]) for i in (0, 10))
    assert first.keys() == second.keys() == set(range(NUM_ROWS))
    assert sum(first[row] == second[row] for row in first) < NUM_ROWS / 4
    patterns = {batch[0]["mask_positions"].tobytes() for batch in batches}
    assert len(patterns) == len(batches)
    assert batches[0][1].keys() == batches[0][2].keys() == {"mlm_logits"}
    for part in batches[0][1:]:
        assert part["mlm_logits"].shape == (10, 3)


@pytest.mark.parametrize("first_step", [0, 1, 3, 7])
def test_a_run_resumes_with_the_same_masks(unmasked, first_step):
    whole = first_batches(unmasked, 9, batch_size=32, seed=5, masking=MASKING)
    rest = first_batches(
        unmasked,
        9 - first_step,
        batch_size=32,
        seed=5,
        first_step=first_step,
        masking=MASKING,
    )
    for got, want in zip(rest, whole[first_step:], strict=True):
        for one, other in zip(got, want, strict=True):
            for name, value in other.items():
                np.testing.assert_array_equal(one[name], value)


def test_validation_rows_are_masked_alike(unmasked, monkeypatch):
    monkeypatch.setattr(record_batches, "_EVAL_MASKING_ROWS", 48)

    def masks(batch_size):
        batches = first_batches(
            unmasked, 99, batch_size=batch_size, seed=None, masking=MASKING
        )
        sizes = [len(inputs["token_ids"]) for inputs, _, _ in batches]
        assert max(sizes) == sizes[0] == batch_size
        return masks_of_rows(batches)

    one = masks(7)
    assert list(one) == list(range(NUM_ROWS))
    assert len(set(map(tuple, one.values()))) > 5
    assert masks(7) == masks(64) == one


def test_masking_is_for_unmasked_rows_and_for_no_others(unmasked, record_set):
    with pytest.raises(ValueError, match=r"000\.tfrecord: .* not masked"):
        record_batches.dataset(unmasked, batch_size=2, seed=0)
    with pytest.raises(ValueError, match=r"000\.tfrecord: .* not masked"):
        record_batches.check_masking([record_set, unmasked], None)
    with pytest.raises(ValueError, match=r"000\.tfrecord: .* masked already"):
        record_batches.check_masking([record_set], MASKING)
    record_batches.check_masking([record_set, unmasked], MASKING)
    record_batches.check_masking([record_set], None)


def test_a_token_that_the_vocabulary_lacks_is_named(unmasked):
    tokens = VOCABULARY.tokens[:80]
    small = dataclasses.replace(
        unmasked, vocabulary=Vocabulary(tokens, lower_case=True)
    )
    message = r"060\.tfrecord: row 15: 80 in input_ids; needs 0 to 79"
    with pytest.raises(ValueError, match=message):
        with small.explain_damage():
            first_batches(small, 20, batch_size=9, seed=0, masking=MASKING)


def test_label_entropies_without_next_sentences(unmasked):
    batches = record_batches.dataset(
        unmasked, batch_size=32, seed=None, masking=MASKING
    )
    entropies = record_batches.label_entropies(batches)
    assert entropies == pytest.approx({"mlm_label_entropy": np.log(NUM_ROWS)})
