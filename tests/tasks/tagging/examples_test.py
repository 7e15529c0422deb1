# SPDX-License-Identifier: Apache-2.0
"""Batches of tagged words: each word's tag is learnt once."""

import numpy as np

from kbert.data import batching
from kbert.tasks.tagging import examples as tagged_words
from kbert.text.tokenizer import Tokenizer

CLS, SEP = 2, 3
WORDS = [["longer", ".", "\u200b", "film"], [], ["the"] * 3 + ["longer"] * 4]
TAGS = [[1, 0, 2, 2], [], [1, 2, 0, 1, 2, 0, 1]]


def batches(vocabulary, **options):
    examples = tagged_words.examples(
        WORDS,
        TAGS,
        tokenizer=Tokenizer(vocabulary),
        **{"max_seq_length": 16, "stride": 8, **options},
    )
    dataset = batching.dataset(examples, batch_size=9, seed=None)
    (batch,) = dataset.as_numpy_iterator()
    return examples, *batch


def test_the_first_subword_has_the_tag(vocabulary):
    examples, inputs, labels, weights = batches(vocabulary)
    assert inputs["token_ids"].tolist() == [
        [CLS, 12, 13, 14, 6, SEP, *[0] * 7],
        [CLS, SEP, *[0] * 11],
        [CLS, 5, 5, 5, *[12, 13] * 4, SEP],
    ]
    lengths = inputs["padding_mask"].sum(1).tolist()
    assert lengths == examples.lengths.numpy().tolist() == [6, 2, 13]
    assert labels["logits"].tolist() == [
        [0, 1, 0, 0, 2, 0, *[0] * 7],  # that of \u200b is not there
        [0] * 13,
        [0, 1, 2, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0],
    ]
    counted = [
        [0, 1, 0, 1, 1, 0, *[0] * 7],
        [0] * 13,
        [0, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 0],
    ]
    want = np.array(counted) * 39 / 10
    np.testing.assert_allclose(weights["logits"], want, rtol=1e-6)
    assert examples.num_truncated == 0


def test_long_sentences_are_windows_and_each_word_counts_once(vocabulary):
    _, inputs, labels, weights = batches(vocabulary, max_seq_length=7, stride=2)
    ids = inputs["token_ids"]
    assert ids.shape == (6, 7)  # 1 + 1 + 4 windows over 11 subwords
    assert ids[2:, 1:6].tolist() == [
        [5, 5, 5, 12, 13],
        [5, 12, 13, 12, 13],
        [13, 12, 13, 12, 13],
        [13, 12, 13, 12, 13],
    ]
    counted = weights["logits"][2:] != 0
    learnt = labels["logits"][2:][counted].tolist()
    assert sorted(learnt) == sorted(TAGS[2])
    assert not counted[:, [0, 6]].any()
    # Each in the window that shows most around it.
    assert counted[:, 1:6].astype(int).tolist() == [
        [1, 1, 1, 1, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 0],
    ]
