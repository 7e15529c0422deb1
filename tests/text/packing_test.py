# SPDX-License-Identifier: Apache-2.0
"""Packing against hand-made rows and the published loop, in a graph too."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kbert.text.packing import pack
from kbert.text.vocabulary import Vocabulary

PAD, UNK, CLS, SEP, MASK = 3, 0, 4, 1, 2  # not in the usual order
VOCABULARY = Vocabulary(
    ("[UNK]", "[SEP]", "[MASK]", "[PAD]", "[CLS]", *"abcdefgh"), True
)


def run(a, b=None, **options):
    """Packs eagerly and in Dataset.map; they agree."""
    texts = [tf.ragged.constant(a, dtype=tf.int32, ragged_rank=1)]
    if b is not None:
        texts.append(tf.ragged.constant(b, dtype=tf.int32, ragged_rank=1))
    eager = pack(*texts, vocabulary=VOCABULARY, **options)
    mapped = tf.data.Dataset.from_tensor_slices(tuple(texts)).batch(len(a))
    mapped = mapped.map(lambda *x: pack(*x, vocabulary=VOCABULARY, **options))
    in_graph = next(iter(mapped))
    tf.nest.map_structure(np.testing.assert_array_equal, eager, in_graph)
    features, cut = eager
    return {name: x.numpy().tolist() for name, x in features.items()}, cut


def test_the_docstrings_example():
    features, cut = run([[5, 6, 7, 8], [5]], [[9], [9]], seq_length=7)
    assert features == {
        "token_ids": [
            [CLS, 5, 6, 7, SEP, 9, SEP],
            [CLS, 5, SEP, 9, SEP, PAD, PAD],
        ],
        "segment_ids": [[0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0, 0]],
        "padding_mask": [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]],
    }
    assert cut.numpy().tolist() == [True, False]


def test_one_text_is_truncated_at_its_end_and_padded_to_the_longest():
    features, cut = run([[5, 6, 7, 8], [], [9, 10]], seq_length=5)
    assert features == {
        "token_ids": [
            [CLS, 5, 6, 7, SEP],
            [CLS, SEP, PAD, PAD, PAD],
            [CLS, 9, 10, SEP, PAD],
        ],
        "segment_ids": [[0] * 5] * 3,
        "padding_mask": [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]],
    }
    assert cut.numpy().tolist() == [True, False, False]
    assert run([[5], [6, 7]], seq_length=9)[0]["token_ids"] == [
        [CLS, 5, SEP, PAD],
        [CLS, 6, 7, SEP],
    ]


def test_pad_to_is_the_length_of_every_row():
    features, _ = run([[5], [6, 7]], seq_length=4, pad_to=6)
    assert features["token_ids"] == [
        [CLS, 5, SEP, PAD, PAD, PAD],
        [CLS, 6, 7, SEP, PAD, PAD],
    ]
    assert features["padding_mask"] == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]]


@pytest.mark.parametrize("seq_length", [5, 8, 9])
def test_pairs_lose_what_the_published_loop_pops(seq_length):
    lengths = list(itertools.product(range(9), repeat=2))
    a = [[100 + i for i in range(n)] for n, _ in lengths]
    b = [[200 + i for i in range(n)] for _, n in lengths]
    features, cut = run(a, b, seq_length=seq_length)
    width = min(seq_length, 8 + 8 + 3)
    for row, (left, right) in enumerate(zip(a, b, strict=True)):
        left, right = list(left), list(right)
        while len(left) + len(right) > seq_length - 3:
            (left if len(left) > len(right) else right).pop()
        tokens = [CLS, *left, SEP, *right, SEP]
        padding = [PAD] * (width - len(tokens))
        assert features["token_ids"][row] == tokens + padding
        segments = [0] * (len(left) + 2) + [1] * (len(right) + 1)
        assert features["segment_ids"][row] == segments + [0] * len(padding)
        mask = [1] * len(tokens) + [0] * len(padding)
        assert features["padding_mask"][row] == mask
        assert bool(cut[row]) == (len(left) + len(right) < sum(lengths[row]))


def test_no_rows_at_all():
    empty = tf.RaggedTensor.from_row_splits(tf.zeros([0], tf.int32), [0])
    for texts in [(empty,), (empty, empty)]:
        features, cut = pack(*texts, vocabulary=VOCABULARY, seq_length=8)
        assert features["token_ids"].shape[0] == 0
        assert cut.shape == (0,)


@pytest.mark.parametrize(
    ("pair", "options", "message"),
    [
        (False, {"seq_length": 2}, "seq_length is 2; needs at least 3"),
        (True, {"seq_length": 4}, "seq_length is 4; needs at least 5"),
        (False, {"seq_length": 8, "pad_to": 7}, "pad_to 7 is below seq_le"),
    ],
)
def test_lengths_that_cannot_be(pair, options, message):
    with pytest.raises(ValueError, match=message):
        run([[5]], [[6]] if pair else None, **options)
