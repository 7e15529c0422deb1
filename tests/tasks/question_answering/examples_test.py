# SPDX-License-Identifier: Apache-2.0
"""Marked answers to labels of windows, and back to the marked text."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.data import batching
from kbert.tasks.question_answering import examples as question_windows
from kbert.tasks.question_answering.squad import Answer, Questions, read_squad
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

LETTERS = "abcdefghijklmnop"
VOCABULARY = Vocabulary((*SPECIAL_TOKENS, *LETTERS, "##z", "?"), True)
CLS, SEP = VOCABULARY.cls_id, VOCABULARY.sep_id
CONTEXT = " ".join(LETTERS[:10])


def questions(*rows):
    """(question, context, answers as texts) each; the first such text."""
    asked, contexts, answers = zip(*rows, strict=True)
    answers = [
        [Answer(text, context.index(text)) for text in texts]
        for context, texts in zip(contexts, answers, strict=True)
    ]
    ids = [str(i) for i in range(len(rows))]
    return Questions("x", ids, [*asked], [*contexts], answers, 0, 0)


def make(
    rows,
    several_answers=False,
    max_seq_length=9,
    max_query_length=2,
    whole_words=False,
):
    return question_windows.examples(
        rows,
        tokenizer=Tokenizer(VOCABULARY),
        max_seq_length=max_seq_length,
        max_query_length=max_query_length,
        stride=3,
        several_answers=several_answers,
        whole_words=whole_words,
    )


def taken(examples):
    (batch,) = batching.dataset(examples, batch_size=9999, seed=None)
    return [{k: x.numpy() for k, x in part.items()} for part in batch]


def ids(text):
    return [VOCABULARY.tokens.index(x) for x in text]


def test_windows_and_their_labels():
    examples = make(
        questions(("p?", CONTEXT, ["d e"]), ("o", "a bz", ["z"]), ("", "", []))
    )
    # Of 9 tokens, 4 or 5 or 6 are left for the context.
    assert examples.lengths.numpy().tolist() == [9, 9, 9, 7, 3]
    inputs, labels = taken(examples)
    assert inputs["token_ids"].tolist() == [
        [CLS, *ids("p?"), SEP, *ids("abcd"), SEP],
        [CLS, *ids("p?"), SEP, *ids("defg"), SEP],
        [CLS, *ids("p?"), SEP, *ids("ghij"), SEP],
        [CLS, *ids("o"), SEP, *ids("ab"), VOCABULARY.tokens.index("##z")]
        + [SEP, 0, 0],
        [CLS, SEP, SEP] + [0] * 6,
    ]
    # The first window has "d" alone: the answer is not in it.
    assert labels["logits"].tolist() == [[0, 0], [4, 5], [0, 0], [5, 5], [0, 0]]


def test_the_first_answer_or_all_of_them():
    rows = questions(("p", CONTEXT, ["h", "b c", "c", "h"]))
    _, labels = taken(make(rows))  # windows of 5: a-e, d-h, g-j
    assert labels["logits"].tolist() == [[0, 0], [7, 7], [4, 4]]
    inputs, labels, weights = taken(make(rows, several_answers=True))
    want = np.zeros((3, 2, 9))
    want[0, 0, [4, 5]] = want[0, 1, [5]] = 1  # "b c" and "c"
    want[1, :, 7] = want[2, :, 4] = 1
    np.testing.assert_array_equal(labels["logits"], want)
    counted = np.zeros((3, 2, 9), bool)
    counted[:2, :, 3:8] = counted[2, :, 3:7] = True
    np.testing.assert_array_equal(weights["logits"] != 0, counted)
    np.testing.assert_allclose(weights["logits"].mean(), 1, rtol=1e-6)


@pytest.mark.slow
def test_answers_inside_of_words_are_learnt_with_all_of_them():
    rows = questions(("o", "a bz p", ["z", "b", "bz"]))
    _, labels = taken(make(rows, whole_words=True))
    assert labels["logits"].tolist() == [[4, 5]]  # b ##z
    _, labels = taken(make(rows))
    assert labels["logits"].tolist() == [[5, 5]]
    _, labels, _ = taken(make(rows, several_answers=True, whole_words=True))
    assert np.argwhere(labels["logits"]).tolist() == [[0, 0, 4], [0, 1, 5]]
    assert rows.answer_texts == [["z", "b", "bz"]]  # which scores are of


def test_questions_that_are_truncated_are_counted():
    examples = make(questions(("p o n", CONTEXT, ["a"]), ("p", "a", ["a"])))
    assert examples.num_truncated == 1
    inputs, _ = taken(examples)
    assert inputs["token_ids"][0, :4].tolist() == [CLS, *ids("po"), SEP]
    with pytest.raises(ValueError, match="max_query_length is 6; needs at mo"):
        make(questions(("p", "a", [])), max_query_length=6)


def test_many_rows_are_the_same_as_few():
    """They are tokenized some at a time."""
    texts = [CONTEXT, "a b", "", "c " * 30]
    marked = ["d e", "b", "", "c c"]
    rows = [
        ("p?"[: i % 3], texts[i % 4], [marked[i % 4]] if i % 4 != 2 else [])
        for i in range(1300)
    ]
    together = make(questions(*rows))
    inputs, labels = taken(together)
    assert len(together) == len(labels["logits"]) > 1300
    few = taken(make(questions(*rows[-12:])))[1]["logits"]
    assert few.any()
    np.testing.assert_array_equal(labels["logits"][-len(few) :], few)


def _ragged(*rows):
    return tf.ragged.constant([*rows], tf.int32, ragged_rank=1)


def test_token_spans():
    starts, ends = _ragged([0, 4, 7], [], [2]), _ragged([3, 7, 10], [], [5])
    begin = _ragged([5, 3, 0, 9], [0], [0, 3])
    stop = _ragged([10, 4, 4, 12], [4], [2, 4])
    first, last = question_windows.token_spans(starts, ends, begin, stop)
    assert first.to_list() == [[1, 1, 0, 2], [0], [0, 0]]
    assert last.to_list() == [[2, 0, 0, 2], [-1], [-1, 0]]


def exact_share(path, vocabulary):
    """The share of answers that their tokens give back to the letter."""
    rows = read_squad(path)
    columns = question_windows._columns(rows, several_answers=True)
    _, starts, ends = Tokenizer(vocabulary).with_spans(columns["context"])
    first, last = question_windows.token_spans(
        starts, ends, columns["answer_start"], columns["answer_end"]
    )
    begin = tf.gather(starts, first, batch_dims=1).to_list()
    stop = tf.gather(ends, last, batch_dims=1).to_list()
    found = [
        context.encode()[a:b].decode() == answer.text
        for context, answers, *spans in zip(
            rows.contexts, rows.answers, begin, stop, strict=True
        )
        for answer, a, b in zip(sorted(set(answers)), *spans, strict=True)
    ]
    return np.mean(found)


@pytest.mark.slow
def test_answers_of_squad_come_back_from_their_tokens(data_dir):
    vocabulary = Vocabulary.load(
        data_dir / "vocab/bert-base-uncased-vocab.txt", lower_case=True
    )
    for name in ("train-v1.1-17articles", "dev-v2.0", "xquad.en-v1.1"):
        share = exact_share(data_dir / f"squad/{name}.json", vocabulary)
        print(name, share)
        assert share > 0.98, name
