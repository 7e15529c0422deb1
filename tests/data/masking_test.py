# SPDX-License-Identifier: Apache-2.0
import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf

from kbert.data.masking import Masking, mask_tokens
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

# The special tokens stand last: nothing may take them for ids 0 to 4.
WORDS = tuple(f"word{i}" for i in range(700)) + tuple(
    f"##piece{i}" for i in range(295)
)
FIRST_PIECE = 700
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


@pytest.fixture(scope="module")
def words(rows):
    """Of each row the lists of positions that make up a word."""
    return [_words(*row) for row in zip(*rows, strict=True)]


def _words(token_ids, padding_mask):
    words, after_text = [], False
    for position, token in enumerate(token_ids):
        is_text = padding_mask[position] and token < len(WORDS)
        if is_text and after_text and token >= FIRST_PIECE:
            words[-1].append(position)
        elif is_text:
            words.append([position])
        after_text = is_text
    return words


def _masking(max_predictions=8, prob=0.15, whole_words=False, max_ngram=1):
    return Masking(
        max_predictions=max_predictions,
        masked_lm_prob=prob,
        whole_words=whole_words,
        max_ngram=max_ngram,
    )


def _mask(rows, seed=(1, 2), **masking):
    masked = mask_tokens(
        *rows, vocabulary=VOCABULARY, masking=_masking(**masking), seed=seed
    )
    return {name: value.numpy() for name, value in masked.items()}


def test_number_of_predictions_is_the_published_one(rows):
    weights = _mask(rows)["mask_weights"]
    for length, row in zip(rows[1].sum(1).tolist(), weights, strict=True):
        # google-research/bert, create_masked_lm_predictions
        expected = min(8, max(1, int(round(length * 0.15))))
        assert row.tolist() == [1.0] * expected + [0.0] * (8 - expected)


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
            masking=_masking(),
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


def _hidden(masked, row):
    count = int(masked["mask_weights"][row].sum())
    return masked["mask_positions"][row, :count].tolist()


@pytest.mark.parametrize("max_ngram", [1, 3])
@pytest.mark.parametrize("prob", [0.15, 0.5])
def test_words_are_hidden_whole(rows, words, max_ngram, prob):
    masked = _mask(
        rows,
        whole_words=True,
        max_ngram=max_ngram,
        prob=prob,
        max_predictions=24,
    )
    full = 0
    for row, length in enumerate(rows[1].sum(1).tolist()):
        hidden = _hidden(masked, row)
        touched = [w for w in words[row] if set(w) & set(hidden)]
        assert hidden == sorted(sum(touched, []))
        assert hidden
        shortest = min(map(len, words[row]))
        expected = max(shortest, min(24, max(1, round(length * prob))))
        assert len(hidden) <= expected
        left = [len(w) for w in words[row] if w not in touched]
        # Nothing that is left would have fit.
        assert len(hidden) + min(left, default=99) > expected
        full += len(hidden) == expected
        stood = masked["mask_ids"][row, : len(hidden)]
        assert (stood == rows[0][row, hidden]).all()
    assert full > 0.9 * NUM_ROWS


def test_spans_of_tokens_fill_the_count(rows):
    plain = _mask(rows)["mask_weights"]
    np.testing.assert_array_equal(
        _mask(rows, max_ngram=3)["mask_weights"], plain
    )


def _greedy(words, count):
    """Google's way: words in any order, one that is too long passed over."""
    chances = collections.Counter()
    orders = list(itertools.permutations(words))
    for order in orders:
        hidden = []
        for word in order:
            if len(hidden) + len(word) <= count:
                hidden += word
        chances[tuple(sorted(hidden))] += 1 / len(orders)
    return chances


def _spans(words, count, max_ngram, hidden=()):
    """A length, then a span, again and again; every way there is."""
    rest = count - len(hidden)
    spans_of = {}
    for n in range(1, max_ngram + 1):
        spans = [words[i : i + n] for i in range(len(words) - n + 1)]
        spans = [sum(span, []) for span in spans]
        spans_of[n] = [
            span
            for span in spans
            if span[-1] - span[0] + 1 == len(span) <= rest
            and not set(span) & set(hidden)
        ]
    if not spans_of[1]:
        return collections.Counter({tuple(sorted(hidden)): 1.0})
    total = sum(1 / n for n in spans_of)
    chances = collections.Counter()
    for n in spans_of:
        shorter = max(m for m in spans_of if m <= n and spans_of[m])
        for span in spans_of[shorter]:
            ways = _spans(words, count, max_ngram, (*hidden, *span))
            share = 1 / n / total / len(spans_of[shorter])
            for pattern, chance in ways.items():
                chances[pattern] += share * chance
    return chances


@pytest.mark.parametrize(
    ("whole_words", "max_ngram", "count"),
    [(True, 1, 4), (True, 1, 2), (False, 3, 3), (False, 2, 4), (True, 3, 4)],
)
def test_each_choice_is_as_likely_as_by_the_book(whole_words, max_ngram, count):
    cls, sep, pad = (
        getattr(VOCABULARY, f"{name}_id") for name in ("cls", "sep", "pad")
    )
    # After the [SEP] a subword has no word to continue.
    token_ids = [cls, 5, 6, 701, 7, 702, 703, sep, 704, 8, 9, sep, pad]
    padding_mask = [1] * 12 + [0]
    words = _words(token_ids, padding_mask)
    assert [len(word) for word in words] == [1, 2, 3, 1, 1, 1]
    if not whole_words:
        words = [[position] for position in sum(words, [])]
    if max_ngram == 1:
        chances = _greedy(words, count)
    else:
        chances = _spans(words, count, max_ngram)
    num_rows = 40000
    rows = [
        np.tile(np.int32(x), (num_rows, 1)) for x in (token_ids, padding_mask)
    ]
    masked = _mask(
        rows,
        whole_words=whole_words,
        max_ngram=max_ngram,
        prob=count / 12,
        max_predictions=6,
    )
    found = collections.Counter(
        tuple(_hidden(masked, row)) for row in range(num_rows)
    )
    assert set(found) <= set(chances)
    assert sum(chances.values()) == pytest.approx(1)
    for pattern, chance in chances.items():
        error = 4.5 * (chance * (1 - chance) / num_rows) ** 0.5
        assert abs(found[pattern] / num_rows - chance) < error, pattern


def test_a_row_of_long_words_loses_one_of_the_shortest():
    cls, sep = VOCABULARY.cls_id, VOCABULARY.sep_id
    token_ids = [[cls, 5, 700, 701, 6, 702, sep, 7, 703, 704, sep]]
    rows = np.array(token_ids, "int32"), np.ones((1, 11), "int32")
    masked = _mask(rows, whole_words=True, prob=0.1, max_predictions=2)
    assert _hidden(masked, 0) == [4, 5]
    none = _mask(rows, whole_words=True, prob=0.1, max_predictions=1)
    assert _hidden(none, 0) == []
    np.testing.assert_array_equal(none["token_ids"], rows[0])


def test_spans_are_the_same_in_a_dataset(rows):
    masking = _masking(whole_words=True, max_ngram=3)
    batches = tf.data.Dataset.from_tensor_slices(rows).batch(NUM_ROWS)
    mapped = batches.map(
        lambda *rows: mask_tokens(
            *rows,
            vocabulary=VOCABULARY,
            masking=masking,
            seed=tf.constant([1, 2], tf.int64),
        )
    )
    assert mapped.element_spec["mask_positions"].shape[1] == 8
    eager = _mask(rows, whole_words=True, max_ngram=3)
    for name, value in next(iter(mapped)).items():
        np.testing.assert_array_equal(value, eager[name])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("max_predictions", 0), ("max_predictions", None)),
        *(("prob", 0.0), ("prob", 1.0), ("max_ngram", 0), ("max_ngram", 9)),
    ],
)
def test_a_wrong_field_is_named(field, value):
    name = "masked_lm_prob" if field == "prob" else field
    with pytest.raises(ValueError, match=f"{name} is {value}; needs"):
        _masking(**{field: value})
