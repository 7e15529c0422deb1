# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf

from kbert.data.masking import mask_tokens
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

# The special tokens stand last: nothing may take them for ids 0 to 4.
WORDS = tuple(f"word{i}" for i in range(995))
VOCABULARY = Vocabulary(tokens=WORDS + SPECIAL_TOKENS[::-1], lower_case=True)
NUM_ROWS, LENGTH = 400, 64


@pytest.fixture(scope="module")
def rows():
    """[CLS] words [SEP] words [SEP] padding, 5 to 64 tokens long."""
    draw = np.random.default_rng(0)
    token_ids = draw.integers(0, len(WORDS), (NUM_ROWS, LENGTH))
    lengths = draw.integers(5, LENGTH + 1, NUM_ROWS)
    padding_mask = np.arange(LENGTH) < lengths[:, None]
    token_ids[:, 0] = VOCABULARY.cls_id
    token_ids[:, 3] = VOCABULARY.sep_id
    token_ids[np.arange(NUM_ROWS), lengths - 1] = VOCABULARY.sep_id
    token_ids[~padding_mask] = VOCABULARY.pad_id
    return token_ids.astype("int32"), padding_mask.astype("int32")


def _mask(rows, seed=(1, 2), max_predictions=8, prob=0.15):
    masked = mask_tokens(
        *rows,
        vocabulary=VOCABULARY,
        max_predictions=max_predictions,
        masked_lm_prob=prob,
        seed=seed,
    )
    return {name: value.numpy() for name, value in masked.items()}


def test_number_of_predictions_is_the_published_one(rows):
    weights = _mask(rows)["mask_weights"]
    for length, row in zip(rows[1].sum(1).tolist(), weights, strict=True):
        # google-research/bert, create_masked_lm_predictions
        wanted = min(8, max(1, int(round(length * 0.15))))
        assert row.tolist() == [1.0] * wanted + [0.0] * (8 - wanted)


def test_positions_are_distinct_sorted_words_and_padding_is_zero(rows):
    token_ids, padding_mask = rows
    masked = _mask(rows)
    for i in range(NUM_ROWS):
        count = int(masked["mask_weights"][i].sum())
        positions = masked["mask_positions"][i, :count].tolist()
        assert positions == sorted(set(positions))
        assert padding_mask[i, positions].all()
        assert (token_ids[i, positions] < len(WORDS)).all()
        assert (masked["mask_ids"][i, :count] == token_ids[i, positions]).all()
        assert not masked["mask_positions"][i, count:].any()
        assert not masked["mask_ids"][i, count:].any()


def test_nothing_changes_where_nothing_is_predicted(rows):
    masked = _mask(rows)
    was_picked = np.zeros_like(rows[0], bool)
    picked = masked["mask_weights"] > 0
    row_of = np.nonzero(picked)[0]
    was_picked[row_of, masked["mask_positions"][picked]] = True
    changed = masked["token_ids"] != rows[0]
    assert changed.any()
    assert not (changed & ~was_picked).any()


def test_every_word_is_picked_as_often(rows):
    token_ids, padding_mask = rows
    whole = padding_mask.sum(1) > 40  # 6 to 8 of 38 to 61 words each
    counts = np.zeros(LENGTH)
    for seed in range(20):
        masked = _mask((token_ids[whole], padding_mask[whole]), (seed, 0))
        picked = masked["mask_positions"][masked["mask_weights"] > 0]
        counts += np.bincount(picked, minlength=LENGTH)
    always_words = np.r_[1:3, 4:40]
    counts = counts[always_words]
    assert abs(counts / counts.mean() - 1).max() < 5 / counts.mean() ** 0.5


def test_shares_are_80_10_10(rows):
    masked = _mask(rows, max_predictions=30, prob=0.4)
    picked = masked["mask_weights"] > 0
    new = np.take_along_axis(masked["token_ids"], masked["mask_positions"], 1)
    old, new = masked["mask_ids"][picked], new[picked]
    assert len(old) > 3000
    kept, hidden = new == old, new == VOCABULARY.mask_id
    error = 4 * (0.25 / len(old)) ** 0.5  # 4 standard errors, at most
    assert abs(hidden.mean() - 0.8) < error
    assert abs(kept.mean() - 0.1) < error
    replaced = new[~kept & ~hidden]
    assert len(set(replaced.tolist())) > 0.7 * len(replaced)  # all over
    assert abs(replaced.mean() / len(VOCABULARY) - 0.5) < 0.1


def test_the_same_in_a_dataset_and_another_for_another_seed(rows):
    eager = _mask(rows)
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(NUM_ROWS)
    mapped = batches.map(
        lambda *rows: mask_tokens(
            *rows,
            vocabulary=VOCABULARY,
            max_predictions=8,
            masked_lm_prob=0.15,
            seed=tf.constant([1, 2], tf.int64),
        )
    )
    assert mapped.element_spec["mask_positions"].shape[1] == 8
    for name, value in next(iter(mapped)).items():
        np.testing.assert_array_equal(value, eager[name])
    other = _mask(rows, seed=(1, 3))
    assert (other["mask_positions"] != eager["mask_positions"]).mean() > 0.5


def test_rows_shorter_than_the_predictions():
    ids = [VOCABULARY.cls_id, 7, VOCABULARY.sep_id, VOCABULARY.pad_id]
    empty = [VOCABULARY.cls_id, VOCABULARY.sep_id, *[VOCABULARY.pad_id] * 2]
    rows = (
        np.array([ids, empty], "int32"),
        np.array([[1, 1, 1, 0], [1, 1, 0, 0]], "int32"),
    )
    masked = _mask(rows, max_predictions=6, prob=0.9)
    assert masked["mask_positions"].tolist() == [[1, 0, 0, 0, 0, 0], [0] * 6]
    assert masked["mask_ids"].tolist() == [[7, 0, 0, 0, 0, 0], [0] * 6]
    assert masked["mask_weights"].tolist() == [[1, 0, 0, 0, 0, 0], [0] * 6]
    assert masked["token_ids"][1].tolist() == empty
