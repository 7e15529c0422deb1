# SPDX-License-Identifier: Apache-2.0
"""Questions to slices of contexts of any length."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert import tasks
from kbert.data import batching
from kbert.tasks import TaskSpec
from kbert.tasks.predictor import make_predictor
from kbert.tasks.question_answering import examples as question_windows
from kbert.tasks.question_answering import head
from kbert.tasks.question_answering.squad import Answer, Questions
from kbert.text.tokenizer import Tokenizer

WORDS = ["the", "film", "was", "good", "bad", "not", "very", "long", "."]
THRESHOLD = -2.0
SHORT = "The film, \u00e9t\u00e9 \U0001f600 was good."


def _text(seed, size):
    return " ".join(np.random.default_rng(seed).choice(WORDS, size))


QUESTIONS = ["was the film good", "", "bad ?", "very long " * 9, "film"]
CONTEXTS = [SHORT, _text(0, 61), "", _text(1, 17), "was\u0301\u3000LONGER"]


def make(config, vocabulary, **settings):
    """A server whose model has weights that tell texts apart."""
    spec = TaskSpec(
        task="question_answering",
        max_seq_length=16,
        num_texts=2,
        settings={
            "max_query_length": 6,
            "stride": 4,
            "max_answer_length": 5,
            **settings,
        },
    )
    model = tasks.build(config, spec)
    rng = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(variable + 0.5 * rng.normal(size=variable.shape))
    return make_predictor(model, vocabulary=vocabulary, spec=spec), model


_SERVERS = {}  # tracing takes a while


@pytest.fixture
def server(tiny_config, vocabulary):
    if "one" not in _SERVERS:
        _SERVERS["one"] = make(
            tiny_config, vocabulary, no_answer=True, threshold=THRESHOLD
        )
    return _SERVERS["one"][0]


@pytest.fixture
def several(tiny_config, vocabulary):
    if "several" not in _SERVERS:
        _SERVERS["several"] = make(
            tiny_config, vocabulary, several_answers=True, threshold=0.04
        )
    return _SERVERS["several"][0]


def _merged_by_hand(model, vocabulary, question, context):
    """(N, 2) logits and [CLS]'s sum, a window at a time through the model."""
    tokenizer = Tokenizer(vocabulary)
    asked, read = (
        tokenizer(tf.constant([text])).to_list()[0]
        for text in (question, context)
    )
    asked = asked[:6]
    room = 16 - 3 - len(asked)
    most = [-1] * len(read)
    merged, none = np.zeros((len(read), 2)), np.inf
    start = 0
    while True:
        part = read[start : start + room]
        ids = [vocabulary.cls_id, *asked, vocabulary.sep_id, *part]
        ids = np.array([[*ids, vocabulary.sep_id]])
        segments = (np.arange(ids.size) >= len(asked) + 2)[np.newaxis]
        inputs = {
            "token_ids": ids,
            "segment_ids": segments.astype("int32"),
            "padding_mask": np.ones_like(ids),
        }
        logits = model(inputs)["logits"].numpy()[0]
        none = min(none, logits[:, 0].sum())
        for position in range(len(part)):
            context = min(position, len(part) - 1 - position) + 0.01 * len(part)
            if context > most[start + position]:
                most[start + position] = context
                merged[start + position] = logits[:, len(asked) + 2 + position]
        if start + room >= len(read):
            return merged, none
        start += min(4, room)


def test_answers_are_those_of_windows_read_one_by_one(server, vocabulary):
    """And of the best pair of tokens of all, found by a loop."""
    model = _SERVERS["one"][1]
    _, starts, ends = Tokenizer(vocabulary).with_spans(tf.constant(CONTEXTS))
    answers = server.predict(QUESTIONS, CONTEXTS)
    for row, answer in enumerate(answers):
        merged, none = _merged_by_hand(
            model, vocabulary, QUESTIONS[row], CONTEXTS[row]
        )
        pairs = sorted(
            (-(merged[i, 0] + merged[j, 1]), i, j)
            for i in range(len(merged))
            for j in range(i, min(i + 5, len(merged)))
        )[:20]
        assert len(answer["answers"]) == len(pairs)
        if not pairs:
            assert answer["answer"] == ""
            assert answer["no_answer_score"] == 1e9
            continue
        assert -pairs[0][0] == pytest.approx(answer["score"], abs=1e-4)
        difference = none + pairs[0][0]
        assert answer["no_answer_score"] == pytest.approx(difference, abs=1e-4)
        spans = [
            (starts[row][i].numpy(), ends[row][j].numpy()) for _, i, j in pairs
        ]
        first, last = spans[0]
        best = CONTEXTS[row].encode()[first:last].decode()
        assert answer["answers"][0]["text"] == best
        assert answer["answer"] == (best if difference <= THRESHOLD else "")
        shares = np.exp([*(-score for score, *_ in pairs), none])
        np.testing.assert_allclose(
            [x["probability"] for x in answer["answers"]],
            (shares / shares.sum())[:-1],
            atol=1e-5,
        )
    scores = [answer["no_answer_score"] for answer in answers]
    assert any(THRESHOLD < score < 0 for score in scores)
    assert {bool(answer["answer"]) for answer in answers} == {True, False}


def test_answers_are_slices_with_their_offsets(server, several):
    for one in (server, several):
        found = []
        for answer, context in zip(
            one.predict(QUESTIONS, CONTEXTS), CONTEXTS, strict=True
        ):
            for x in answer["answers"]:
                assert x["text"] == context[x["start"] : x["end"]] != ""
                found.append(x)
        assert len(found) > 8
    got = {
        name: x.numpy()
        for name, x in server(
            tf.constant(["bad"]), tf.constant([SHORT])
        ).items()
    }
    for k in range(got["count"][0]):
        a, b = got["byte_starts"][0, k], got["byte_ends"][0, k]
        assert SHORT.encode()[a:b] == got["answers"][0, k]
    assert (got["byte_starts"] > got["starts"]).any()
    answer = server.predict(["bad"], [SHORT])[0]
    assert answer["answer"] == SHORT[answer["start"] : answer["end"]]


def _close(got, want):
    assert got.keys() == want.keys()
    for x, y in zip(got["answers"], want["answers"], strict=True):
        assert x["text"] == y["text"]
        assert (x["start"], x["end"]) == (y["start"], y["end"])
        assert x["probability"] == pytest.approx(y["probability"], abs=1e-5)
    for name in got.keys() - {"answers"}:
        assert got[name] == (
            want[name]
            if name == "answer"
            else pytest.approx(want[name], abs=1e-4)
        )


def test_a_row_alone_is_the_row_among_many_windows(server, several):
    """A batch of 5 rows and 21 windows, one of 60 and some 250."""
    for one in (server, several):
        alone = [
            one.predict([q], [c])[0]
            for q, c in zip(QUESTIONS, CONTEXTS, strict=True)
        ]
        together = one.predict(QUESTIONS * 12, CONTEXTS * 12, batch_size=60)
        for got, want in zip(together, alone * 12, strict=True):
            _close(got, want)


def test_as_many_answers_as_asked_for(server, several):
    asked = ["the film"], ["good bad film the good the"]
    (all_of_them,) = server.predict(*asked)
    (two,) = server.predict(*asked, n_best=2)
    assert len(all_of_them["answers"]) > 2
    assert two["answers"] == all_of_them["answers"][:2]
    assert two["answer"] == all_of_them["answer"]
    with pytest.raises(ValueError, match="n_best is 21; needs 1 to 20"):
        server.predict(*asked, n_best=21)
    with pytest.raises(ValueError, match="n_best is 2: the model gives all"):
        several.predict(*asked, n_best=2)


def test_nothing_to_read(server, several):
    for one in (server, several):
        none = tf.constant([], tf.string)
        for value in one.signature()(none, none).values():
            assert value.shape[0] == 0
        for context in ("", " \u3000\n", "\x00"):
            (answer,) = one.predict(["film"], [context])
            assert answer["answers"] == []
            assert not answer.get("answer") and not answer.get("end")
        strange = b"good \xff\xfe film \xc3", b"\xed\xa0\x80 bad", "\ud800 good"
        for answer in one.predict(strange, strange[::-1]):
            assert all(
                x["start"] < x["end"] and x["text"] for x in answer["answers"]
            )


@pytest.mark.slow
def test_several_answers_are_learnt_by_fit(tiny_config, vocabulary):
    """From contexts of several windows; two questions share one."""
    first = "bad film . not good . " + "the was " * 14 + "longer good ."
    second = "the very . " * 7 + "long film " + "was . " * 9
    rows = [
        ("film ?", first, ["bad film", "longer"]),
        ("good ?", first, ["not good"]),
        ("film ?", second, ["long film"]),
        ("bad ?", second, []),
    ]
    answers = [
        [Answer(text, context.index(text)) for text in texts]
        for _, context, texts in rows
    ]
    asked, contexts, _ = (list(column) for column in zip(*rows, strict=True))
    server, _ = make(tiny_config, vocabulary, several_answers=True)
    examples = question_windows.examples(
        Questions("x", [*"abcd"], asked, contexts, answers, 0, 0),
        tokenizer=Tokenizer(vocabulary),
        max_seq_length=16,
        max_query_length=6,
        stride=4,
        several_answers=True,
    )
    assert len(examples) > 20
    still = dataclasses.replace(
        tiny_config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    keras.utils.set_random_seed(1)
    model = tasks.build(still, server.spec)
    model.compile(
        keras.optimizers.Adam(1e-2),
        head.losses(several_answers=True),
        jit_compile=False,  # to be quick
    )
    batches = batching.dataset(examples, batch_size=len(examples), seed=0)
    model.fit(batches, steps_per_epoch=100, epochs=1, verbose=0)
    server = make_predictor(model, vocabulary=vocabulary, spec=server.spec)
    found = [
        [x["text"] for x in answer["answers"]]
        for answer in server.predict(asked, contexts)
    ]
    assert found == [texts for *_, texts in rows]
