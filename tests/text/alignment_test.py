# SPDX-License-Identifier: Apache-2.0
"""Words and characters of subwords, eagerly and inside Dataset.map."""

import pytest
import tensorflow as tf

from kbert.text import alignment
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

SUBWORDS = ("the", "walk", "##ing", "caf", "##e", "日", "-")
TOKENS = (*SPECIAL_TOKENS, *SUBWORDS)
WORDS = [["the", "walking"], [], ["café", "\u200b", "walk-walk", "zzz"], ["日"]]
LABELS = [[7, 8], [], [1, 2, 3, 4], [5]]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(Vocabulary(TOKENS, True))


def test_each_subword_knows_its_word_and_the_first_has_its_label(tokenizer):
    def align(words, labels):
        ids, word_of = alignment.tokenize_words(words, tokenizer)
        return ids, word_of, alignment.label_first_subwords(labels, word_of)

    subwords = [
        ["the", "walk", "##ing"],
        [],
        ["caf", "##e", "walk", "-", "walk", "[UNK]"],
        ["日"],
    ]
    want_words = [[0, 1, 1], [], [0, 0, 2, 2, 2, 3], [0]]
    want_labels = [[7, 8, -1], [], [1, -1, 3, -1, -1, 4], [5]]
    inputs = tf.ragged.constant(WORDS), tf.ragged.constant(LABELS)
    (mapped,) = tf.data.Dataset.from_tensors(inputs).map(align)
    for ids, word_of, labels in (align(*inputs), mapped):
        assert [[TOKENS[i] for i in row] for row in ids.to_list()] == subwords
        assert word_of.to_list() == want_words
        assert labels.to_list() == want_labels
        assert ids.dtype == word_of.dtype == labels.dtype == tf.int32


def test_two_words_that_are_alike_stay_two(tokenizer):
    words = tf.ragged.constant([["walk", "walk"], ["walk"]])
    _, word_of = alignment.tokenize_words(words, tokenizer)
    labels = tf.ragged.constant([[1, 2], [3]])
    got = alignment.label_first_subwords(labels, word_of)
    assert got.to_list() == [[1, 2], [3]]


def test_characters_and_bytes_cut_the_same_text(tokenizer):
    texts = ["the café\u0301 日日", "", "😀 walking", "日"]

    def spans(texts):
        _, *ends = tokenizer.with_spans(texts)
        return *ends, *(alignment.character_offsets(texts, x) for x in ends)

    inputs = tf.constant(texts)
    (mapped,) = tf.data.Dataset.from_tensors(inputs).map(spans)
    for got in (spans(inputs), mapped):
        rows = zip(texts, *(x.to_list() for x in got), strict=True)
        for text, *spans in rows:
            cut = [
                (text.encode()[b0:b1].decode(), text[c0:c1])
                for b0, b1, c0, c1 in zip(*spans, strict=True)
            ]
            assert [a for a, _ in cut] == [b for _, b in cut]
    starts, ends = (x.to_list() for x in got[2:])
    assert (starts[0], ends[0]) == ([0, 4, 7, 10, 11], [3, 7, 9, 11, 12])
