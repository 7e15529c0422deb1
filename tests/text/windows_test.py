# SPDX-License-Identifier: Apache-2.0
"""Windows against run_squad.py's rule, eagerly and inside Dataset.map."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.text.windows import pack_texts, sliding_windows
from kbert.window_sizes import WindowSizes

ROWS = [
    [5, 6, 7, 8, 9, 10],
    [11],
    [],
    list(range(20, 43)),
    list(range(50, 58)),
]


def by_hand(rows, lengths, stride):
    """The same, one token at a time."""
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        spans, start = [], 0
        while True:
            spans.append((start, min(length, len(row) - start)))
            if sum(spans[-1]) == len(row):
                break
            start += min(length, stride)
        for window, (start, size) in enumerate(spans):
            best = []
            for position in range(start, start + size):
                scores = [
                    min(position - s, s + n - 1 - position) + 0.01 * n
                    if s <= position < s + n
                    else -1
                    for s, n in spans
                ]
                best.append(scores.index(max(scores)) == window)
            yield row[start : start + size], number, start, best


def check(windows, want):
    ids, row, start, best = windows
    got = (ids.to_list(), row.numpy(), start.numpy(), best.to_list())
    assert list(zip(*got, strict=True)) == want
    assert ids.dtype == row.dtype == start.dtype == tf.int32


def test_the_example():
    windows = sliding_windows(
        tf.ragged.constant([[5, 6, 7, 8, 9, 10], [11]]), length=4, stride=2
    )
    assert windows.ids.to_list() == [[5, 6, 7, 8], [7, 8, 9, 10], [11]]
    assert windows.row.numpy().tolist() == [0, 0, 1]
    assert windows.start.numpy().tolist() == [0, 2, 0]
    assert windows.best.to_list() == [
        [True, True, True, False],
        [False, True, True, True],
        [True],
    ]


@pytest.mark.parametrize(
    ("length", "stride"), [(4, 2), (6, 1), (5, 3), (4, 9), (1, 1), (99, 5)]
)
def test_windows_are_those_of_run_squad(length, stride):
    want = list(by_hand(ROWS, [length] * len(ROWS), stride))
    rows = tf.ragged.constant(ROWS, tf.int32)
    check(sliding_windows(rows, length=length, stride=stride), want)
    dataset = tf.data.Dataset.from_tensors(rows).map(
        lambda ids: sliding_windows(ids, length=length, stride=stride)
    )
    (got,) = dataset
    check(got, want)


def test_each_row_has_the_room_that_its_question_leaves():
    lengths = [3, 4, 5, 6, 7]
    rows = tf.ragged.constant(ROWS, tf.int32)
    got = sliding_windows(rows, length=tf.constant(lengths), stride=4)
    check(got, list(by_hand(ROWS, lengths, 4)))


def test_each_token_has_one_best_window():
    rows = tf.ragged.constant(ROWS, tf.int32)
    windows = sliding_windows(rows, length=5, stride=2)
    best = tf.ragged.boolean_mask(windows.ids, windows.best).flat_values
    assert sorted(best.numpy()) == sorted(sum(ROWS, []))


@pytest.mark.parametrize(("length", "stride"), [(0, 1), (4, 0)])
def test_numbers_that_are_too_small(length, stride):
    with pytest.raises(ValueError, match=f"length is {length} and stride is"):
        rows = tf.ragged.constant(ROWS, tf.int32)
        sliding_windows(rows, length=length, stride=stride)


def test_texts_in_windows(vocabulary):
    """The second text has one window; [CLS] fills up its others."""
    texts = tf.ragged.constant([[5, 6, 7, 8, 9, 10, 11], [12], []])
    inputs = pack_texts(
        texts,
        vocabulary=vocabulary,
        seq_length=5,
        windows=WindowSizes(seq_length=5, stride=2, count=3),
    )
    want = {
        "token_ids": [
            [[2, 5, 6, 7, 3], [2, 7, 8, 9, 3], [2, 9, 10, 11, 3]],
            [[2, 12, 3, 0, 0], [2, 0, 0, 0, 0], [2, 0, 0, 0, 0]],
            [[2, 3, 0, 0, 0], [2, 0, 0, 0, 0], [2, 0, 0, 0, 0]],
        ],
        "segment_ids": np.zeros((3, 3, 5)).tolist(),
        "padding_mask": [
            [[1, 1, 1, 1, 1]] * 3,
            [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]],
            [[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]],
        ],
    }
    assert {name: x.numpy().tolist() for name, x in inputs.items()} == want
    assert {x.dtype for x in inputs.values()} == {tf.int32}


@pytest.mark.parametrize("size", range(40))
def test_no_token_is_lost_up_to_the_most(vocabulary, size):
    """And no window is more than there may be."""
    tokens = np.arange(100, 100 + size)
    sizes = WindowSizes(seq_length=8, stride=4, count=6)
    assert sizes.most_tokens == 26  # by hand: 6 + 5 * 4
    inputs = pack_texts(
        tf.ragged.constant([tokens], dtype=tf.int32, ragged_rank=1),
        vocabulary=vocabulary,
        seq_length=8,
        windows=sizes,
    )
    (ids,) = inputs["token_ids"].numpy()
    assert len(ids) <= 6
    assert sorted({*ids.ravel()} - {0, 2, 3}) == tokens[:26].tolist()


def test_no_texts_have_no_windows(vocabulary):
    inputs = pack_texts(
        tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), [0])[:0],
        vocabulary=vocabulary,
        seq_length=8,
        windows=WindowSizes(seq_length=8, stride=4, count=6),
    )
    assert [x.shape.as_list() for x in inputs.values()] == [[0, 0, 2]] * 3
