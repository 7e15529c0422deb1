# SPDX-License-Identifier: Apache-2.0
"""Rows of sentences against a loop, eagerly and inside Dataset.map."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.text.sentences import (
    is_sentence,
    sentence_features,
    sentence_rows,
)

EXAMPLE = [[[5, 6], [7], [8]], [[], [5, 6, 7, 8, 9, 10]]]
_RNG = np.random.default_rng(3)
# Documents of 0 to 9 sentences of 0 to 12 tokens.
MANY = [
    [_RNG.integers(5, 15, _RNG.integers(13)).tolist() for _ in range(count)]
    for count in [0, 9, 1, 0, *_RNG.integers(10, size=20), 0]
]


def by_hand(documents, seq_length):
    """Tokens, positions and which documents' sentences are cut."""
    ids, positions, cut = [], [], []
    for document in documents:
        cut.append([len(sentence) > seq_length - 2 for sentence in document])
        full = True
        for sentence in document:
            part = [2, *sentence[: seq_length - 2], 3]
            if full or len(ids[-1]) + len(part) > seq_length:
                ids.append([])
                positions.append([])
            full = False
            positions[-1].append(len(ids[-1]))
            ids[-1].extend(part)
    return ids, positions, cut


def ragged(documents):
    return tf.ragged.constant(
        documents, tf.int32, ragged_rank=2, row_splits_dtype=tf.int64
    )


def check(rows, want):
    assert tuple(part.to_list() for part in rows) == want
    assert rows.ids.dtype == rows.positions.dtype == tf.int32


def test_the_examples(vocabulary):
    rows = sentence_rows(ragged(EXAMPLE), vocabulary=vocabulary, seq_length=7)
    ids = [[2, 5, 6, 3, 2, 7, 3], [2, 8, 3], [2, 3], [2, 5, 6, 7, 8, 9, 3]]
    cut = [[False, False, False], [False, True]]
    check(rows, (ids, [[0, 4], [0], [0], [0]], cut))
    features = sentence_features(
        rows.ids[:2], rows.positions[:2], vocabulary=vocabulary
    )
    assert {k: v.numpy().tolist() for k, v in features.items()} == {
        "token_ids": [[2, 5, 6, 3, 2, 7, 3], [2, 8, 3, 0, 0, 0, 0]],
        "segment_ids": [[0, 0, 0, 0, 1, 1, 1], [0] * 7],
        "padding_mask": [[1] * 7, [1, 1, 1, 0, 0, 0, 0]],
        "sentence_positions": [[0, 4], [0, 0]],
    }
    assert {value.dtype for value in features.values()} == {tf.int32}


@pytest.mark.parametrize("seq_length", [3, 14, 200])
def test_rows_are_those_of_a_loop(vocabulary, seq_length):
    want = by_hand(MANY, seq_length)

    def lay_out(documents):
        return sentence_rows(
            documents, vocabulary=vocabulary, seq_length=seq_length
        )

    check(lay_out(ragged(MANY)), want)
    (got,) = tf.data.Dataset.from_tensors(ragged(MANY)).map(lay_out)
    check(got, want)


def test_segments_take_turns(vocabulary):
    ids, positions, _ = by_hand(MANY, 20)
    features = sentence_features(
        tf.ragged.constant(ids, tf.int32, row_splits_dtype=tf.int64),
        tf.ragged.constant(positions, tf.int32, row_splits_dtype=tf.int64),
        vocabulary=vocabulary,
    )
    for row, (tokens, starts) in enumerate(zip(ids, positions, strict=True)):
        want = [sum(x <= i for x in starts) - 1 for i in range(len(tokens))]
        got = features["segment_ids"][row].numpy().tolist()
        rest = [0] * (len(got) - len(want))
        assert got == [number % 2 for number in want] + rest


def test_no_sentences_at_all(vocabulary):
    for documents in ([], [[], []]):
        rows = sentence_rows(
            ragged(documents), vocabulary=vocabulary, seq_length=9
        )
        check(rows, ([], [], documents))


def test_no_room(vocabulary):
    with pytest.raises(ValueError, match="seq_length is 2; needs at least 3"):
        sentence_rows(ragged(EXAMPLE), vocabulary=vocabulary, seq_length=2)


def test_blank_strings_are_no_sentences():
    texts = ["", " \t\n", " a ", ".", b"\xff"]
    assert is_sentence(tf.constant([texts])).numpy().tolist() == [
        [False, False, True, True, True]
    ]
