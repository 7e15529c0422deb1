# SPDX-License-Identifier: Apache-2.0
"""Batches of labelled texts: what is in them, in which order, how padded."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from kbert.data import batching, labelled_texts
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

WORDS = tuple(f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(400))
VOCABULARY = Vocabulary((*SPECIAL_TOKENS, *WORDS), True)
CLS, SEP = VOCABULARY.cls_id, VOCABULARY.sep_id


def make_examples(*texts, max_seq_length=64):
    """Rows whose label is their number."""
    return labelled_texts.examples(
        texts,
        np.arange(len(texts[0]), dtype=np.int32),
        output="logits",
        tokenizer=Tokenizer(VOCABULARY),
        max_seq_length=max_seq_length,
    )


@pytest.fixture(scope="module")
def many():
    """1,203 rows of 1 to 40 words; a row's words are not another's."""
    lengths = np.random.default_rng(0).integers(1, 41, 1203)
    texts = [" ".join(WORDS[:n][::-1]) for n in lengths]
    return make_examples(texts)


def taken(dataset, steps=None):
    """The batches' inputs and labels as numpy."""
    rows = itertools.islice(dataset.as_numpy_iterator(), steps)
    return [(inputs, labels["logits"]) for inputs, labels in rows]


def labels_of(batches):
    return [labels.tolist() for _, labels in batches]


def test_pairs_are_packed_and_padded_to_their_batch():
    examples = make_examples(
        ["waa wab", "waa", "wac wad wae", ""],
        ["wad", "wac", "waf wag wah", "waa"],
        max_seq_length=8,
    )
    assert examples.lengths.numpy().tolist() == [6, 5, 8, 4]
    assert examples.num_truncated == 1
    batches = taken(batching.dataset(examples, batch_size=2, seed=None))
    (first, first_labels), (second, second_labels) = batches
    a, b, c, d, e, f, g = range(5, 12)
    assert first["token_ids"].tolist() == [
        [CLS, a, b, SEP, d, SEP],
        [CLS, a, SEP, c, SEP, 0],
    ]
    assert first["segment_ids"].tolist() == [
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1, 0],
    ]
    assert first["padding_mask"].tolist() == [[1] * 6, [1] * 5 + [0]]
    assert second["token_ids"].tolist() == [
        [CLS, c, d, e, SEP, f, g, SEP],  # a tie cuts the second text
        [CLS, SEP, a, SEP, 0, 0, 0, 0],
    ]
    assert first_labels.tolist() == [0, 1]
    assert second_labels.tolist() == [2, 3]


def test_texts_that_are_too_long_are_counted():
    texts = [" ".join(WORDS[:n]) for n in (5, 6, 7, 8, 30)]
    examples = make_examples(texts, max_seq_length=8)
    assert examples.num_truncated == 3
    ((inputs, _),) = taken(batching.dataset(examples, batch_size=9, seed=None))
    assert inputs["token_ids"][4].tolist() == [CLS, *range(5, 11), SEP]


def test_evaluation_is_one_pass_in_order(many):
    batches = taken(batching.dataset(many, batch_size=32, seed=None))
    assert sum(labels_of(batches), []) == list(range(1203))
    assert len(batches) == batching.steps_per_epoch(many, 32) == 38
    rest = taken(
        batching.dataset(many, batch_size=32, seed=None, first_step=36)
    )
    assert labels_of(rest) == labels_of(batches)[36:]


def test_each_epoch_has_every_row_in_its_own_order(many):
    steps = batching.steps_per_epoch(many, 16)
    batches = taken(batching.dataset(many, batch_size=16, seed=7), 3 * steps)
    epochs = [batches[i * steps : (i + 1) * steps] for i in range(3)]
    orders = [sum(labels_of(epoch), []) for epoch in epochs]
    for epoch, order in zip(epochs, orders, strict=True):
        assert [len(labels) for _, labels in epoch] == [16] * steps
        assert set(order) == set(range(1203))
    assert orders[0] != orders[1] != orders[2] != orders[0]
    # Other rows fill the last batch each time.
    twice = [{r for r in order if order.count(r) > 1} for order in orders]
    assert [len(rows) for rows in twice] == [16 * steps - 1203] * 3
    assert twice[0] != twice[1] != twice[2] != twice[0]


def test_rows_keep_their_labels(many):
    lengths = many.lengths.numpy()
    for inputs, labels in taken(
        batching.dataset(many, batch_size=16, seed=3), 80
    ):
        got = inputs["padding_mask"].sum(1)
        np.testing.assert_array_equal(got, lengths[labels])
        assert inputs["token_ids"].shape[1] == got.max()


def test_rows_of_similar_length_share_a_batch(many):
    steps = batching.steps_per_epoch(many, 16)

    def share_of_real_tokens(seed):
        batches = taken(batching.dataset(many, batch_size=16, seed=seed), steps)
        masks = [inputs["padding_mask"] for inputs, _ in batches]
        real = sum(mask.sum() for mask in masks)
        return real / sum(mask.size for mask in masks), masks

    in_order, _ = share_of_real_tokens(None)
    sorted_by_length, masks = share_of_real_tokens(1)
    assert in_order < 0.6 < 0.8 < sorted_by_length
    # A batch is not of one length: of four, each has a quarter of 40 words.
    spreads = [np.ptp(mask.sum(axis=1)) for mask in masks]
    assert 8 < np.mean(spreads) < 12
    widths = [mask.shape[1] for mask in masks]
    # Short and long batches are mixed over the epoch.
    assert widths != sorted(widths)
    assert abs(np.mean(widths[:35]) - np.mean(widths[35:])) < 8


def test_rows_by_length_keep_their_labels_and_need_little_padding(many):
    batches = taken(
        batching.dataset(
            batching.sorted_by_length(many), batch_size=16, seed=None
        ),
        76,
    )
    assert sorted(sum(labels_of(batches), [])) == list(range(1203))
    masks = [inputs["padding_mask"] for inputs, _ in batches]
    widths = [mask.shape[1] for mask in masks]
    assert widths == sorted(widths)
    lengths = many.lengths.numpy()
    for mask, labels in zip(masks, labels_of(batches), strict=True):
        np.testing.assert_array_equal(mask.sum(1), lengths[labels])


def test_rows_do_not_meet_the_same_rows_each_epoch():
    # All lengths differ: sorting all rows at once would pair them one way.
    texts = [" ".join(WORDS[:n]) for n in range(200)]
    examples = make_examples(texts, max_seq_length=256)
    dataset = batching.dataset(examples, batch_size=2, seed=1)
    pairs = [tuple(sorted(pair)) for pair in labels_of(taken(dataset, 200))]
    assert len(set(pairs[:100]) & set(pairs[100:])) < 50


def test_the_seed_decides_the_order(many):
    def order(seed):
        dataset = batching.dataset(many, batch_size=16, seed=seed)
        return labels_of(taken(dataset, 100))

    assert order(5) == order(5)
    assert order(5) != order(6)


def test_going_on_gives_what_would_have_followed(many):
    whole = taken(batching.dataset(many, batch_size=16, seed=5), 160)
    for step in (75, 76, 157):  # an epoch has 76
        dataset = batching.dataset(many, batch_size=16, seed=5, first_step=step)
        for want, got in zip(whole[step:], taken(dataset, 3), strict=False):
            tf.nest.map_structure(np.testing.assert_array_equal, want, got)


def test_a_table_smaller_than_a_batch():
    examples = make_examples(["waa", "wab wac", "wad"])
    batches = taken(batching.dataset(examples, batch_size=8, seed=1), 3)
    assert [sorted(set(labels)) for labels in labels_of(batches)] == [
        [0, 1, 2]
    ] * 3
    assert [len(labels) for labels in labels_of(batches)] == [8] * 3


def _with_ids(ids):
    examples = make_examples(["waa"] * len(ids))
    return dataclasses.replace(examples, text_ids=np.array(ids, np.int32))


def test_no_batch_has_a_text_twice():
    """Forty texts, each in ten rows, and one in the other column."""
    ids = [(i % 40, 100 + i) for i in range(400)] + [(50, 7), (51, 8)] * 4
    examples = _with_ids(ids)
    steps = batching.steps_per_epoch(examples, 16)
    dataset = batching.dataset(examples, batch_size=16, seed=1)
    epochs = labels_of(taken(dataset, 3 * steps))
    for batch in epochs:
        numbers = [number for row in batch for number in ids[row]]
        assert len(numbers) == len({*numbers})
    # A row that one epoch leaves out is in another.
    assert {row for batch in epochs for row in batch} == {*range(len(ids))}
    assert len({row for batch in epochs[:steps] for row in batch}) > 400
    later = batching.dataset(examples, batch_size=16, seed=1, first_step=20)
    assert labels_of(taken(later, steps)) == epochs[20 : steps + 20]


def test_a_batch_that_cannot_be_filled():
    examples = _with_ids([(i % 3, 9 + i) for i in range(12)])
    batching.dataset(examples, batch_size=3, seed=0)
    with pytest.raises(ValueError, match="batch_size is 4; no more than 3 ro"):
        batching.dataset(examples, batch_size=4, seed=0)
