# SPDX-License-Identifier: Apache-2.0
"""Strings in, answers out: right ones, for any batch and any bytes."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert import tasks
from kbert.checkpoints import folder
from kbert.tasks import TaskSpec
from kbert.tasks.predictor import make_predictor

LABELS = ("bad", "so-so", "schön")
# Of different lengths; the tokens of the last are cut to 12.
TEXTS = ["good", "The film was not very good.", "", "bad bad film " * 9]


def _server(config, vocabulary, num_texts=1, max_seq_length=12):
    """A server whose model has weights that tell texts apart."""
    spec = TaskSpec(
        task="classification",
        max_seq_length=max_seq_length,
        labels=LABELS,
        num_texts=num_texts,
    )
    model = tasks.build(config, spec)
    rng = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return make_predictor(model, vocabulary=vocabulary, spec=spec), model


_SERVERS = {}  # by the number of texts: tracing takes a while


@pytest.fixture
def single(tiny_config, vocabulary):
    if 1 not in _SERVERS:
        _SERVERS[1] = _server(tiny_config, vocabulary)[0]
    return _SERVERS[1]


@pytest.fixture
def pairs(tiny_config, vocabulary):
    if 2 not in _SERVERS:
        _SERVERS[2] = _server(tiny_config, vocabulary, num_texts=2)[0]
    return _SERVERS[2]


def _probabilities(answers):
    return np.array([list(row["probabilities"].values()) for row in answers])


def test_answers_are_the_models_for_the_tokens(tiny_config, vocabulary):
    server, model = _server(tiny_config, vocabulary, num_texts=2)
    answer = server(tf.constant(["The film"]), tf.constant(["longer."]))
    logits = model(  # [CLS] the film [SEP] long ##er . [SEP]
        {
            "token_ids": np.array([[2, 5, 6, 3, 12, 13, 14, 3]]),
            "segment_ids": np.array([[0, 0, 0, 0, 1, 1, 1, 1]]),
            "padding_mask": np.ones((1, 8), int),
        }
    )["logits"].numpy()[0]
    want = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(answer["probabilities"][0], want, rtol=1e-5)
    assert answer["label"][0].numpy().decode() == LABELS[want.argmax()]


def test_the_signature(single, pairs):
    for server, names in ((single, ["text"]), (pairs, ["text_a", "text_b"])):
        signature = server.signature()
        inputs, _ = signature.structured_input_signature
        assert [spec.name for spec in inputs] == names
        assert {(*s.shape, s.dtype) for s in inputs} == {(None, tf.string)}
        outputs = signature.structured_outputs
        got = {n: (s.shape.as_list(), s.dtype) for n, s in outputs.items()}
        assert got == {
            "probabilities": ([None, 3], tf.float32),
            "label": ([None], tf.string),
        }


def test_a_row_alone_is_the_row_in_a_padded_batch(single):
    together = single.predict(TEXTS)
    alone = [single.predict([text])[0] for text in TEXTS]
    want, got = _probabilities(together), _probabilities(alone)
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert [a["label"] for a in alone] == [a["label"] for a in together]
    assert np.ptp(want, axis=0).max() > 0.05  # the texts do differ


def test_any_number_of_texts_in_order(single):
    texts = [TEXTS[i % 3] for i in range(11)]
    want = _probabilities([single.predict([text])[0] for text in texts])
    for batch_size in (1, 4, 32):
        got = _probabilities(single.predict(texts, batch_size=batch_size))
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert single.predict([]) == []
    done = []
    single.predict(
        texts, batch_size=4, progress=lambda *step: done.append(step)
    )
    assert done == [(4, 11), (8, 11), (11, 11)]


def test_the_second_text_counts_and_the_order_too(pairs):
    a, b = ["the film"], ["not good"]
    rows = [pairs.predict(a, b), pairs.predict(a, a), pairs.predict(b, a)]
    one, two, three = (_probabilities(row) for row in rows)
    assert np.abs(one - two).max() > 1e-3
    assert np.abs(one - three).max() > 1e-3


def test_no_rows_and_no_tokens(single, pairs):
    for server in (single, pairs):
        none = [tf.constant([], tf.string)] * len(server.text_inputs)
        answer = server.signature()(*none)
        assert answer["probabilities"].shape == (0, 3)
        assert answer["label"].shape == (0,)
        empty = [["", " "]] * len(server.text_inputs)
        got = _probabilities(server.predict(*empty))
        np.testing.assert_allclose(got.sum(1), 1, rtol=1e-5)
        np.testing.assert_allclose(got[0], got[1], atol=1e-6)


def test_bytes_that_are_no_utf8(single):
    texts = [b"good \xff\xfe", b"\xc3", b"\xed\xa0\x80 bad", "\ud800 good\x00"]
    got = _probabilities(single.predict(texts))
    np.testing.assert_allclose(got.sum(1), 1, rtol=1e-5)
    good = _probabilities(single.predict(["good"]))
    np.testing.assert_allclose(got[0], good[0], atol=1e-6)
    np.testing.assert_allclose(got[3], good[0], atol=1e-6)


def test_predict_gives_labels_and_their_probabilities(single):
    for row in single.predict(TEXTS):
        assert tuple(row["probabilities"]) == LABELS
        best = max(row["probabilities"], key=row["probabilities"].get)
        assert row["label"] == best


def test_wrong_arguments(single, pairs):
    with pytest.raises(ValueError, match="Got the text 'good'; needs a list"):
        single.predict("good")
    with pytest.raises(ValueError, match="Got 2 lists .* takes 1: text"):
        single.predict(["a"], ["b"])
    with pytest.raises(ValueError, match="Got 1 lists .* takes 2: text_a, te"):
        pairs.predict(["a"])
    with pytest.raises(ValueError, match="Got 2 and 1 texts; needs as many"):
        pairs.predict(["a", "b"], ["c"])
    for rows in (None, 3, np.array("good")):
        with pytest.raises(ValueError, match="^Got .*; needs a list"):
            single.predict(rows)
    for row in (None, 3, ["a"], ("a",), {"a": 1}, np.array(["a"])):
        with pytest.raises(ValueError, match="^Text 2: text is .* a text"):
            single.predict(["a", row])


@pytest.mark.parametrize(
    "texts", [tf.constant("a"), tf.constant([["a"]]), tf.constant([[["a"]]])]
)
def test_a_call_with_texts_of_another_rank(texts, single):
    """Which ended the process: FastBertNormalizer reads what is not its."""
    with pytest.raises(ValueError, match="check_text"):
        single(texts)


FULL, MORE = "bad " * 9, "bad " * 10  # tokens, and the special ones


@pytest.mark.parametrize(
    ("task", "rows"),
    [
        # A pair of twelve tokens with [CLS] and two [SEP]; then of thirteen.
        ("multiple_choice", [("", [FULL, ""]), ("bad", ["good", FULL])]),
        ("multiple_choice", [("bad", ["", FULL[4:]]), (FULL, ["", "a"])]),
        ("reranking", [("bad", ["", FULL[4:]]), (FULL, ["", "a"])]),
        ("question_answering", [("bad " * 6, MORE), ("bad " * 7, "")]),
        ("summarization", [([MORE, MORE],), (["good", "", MORE + "bad"],)]),
        ("tagging", [(MORE * 9,), (MORE * 9,)]),
        ("masked_lm", [("[MASK] " * 10,), ("[MASK] " * 11,)]),
        ("classification", [(MORE,), ("longer" * 90,), (MORE + ".",)]),
        ("pairs", [("", FULL), (FULL, "bad")]),
    ],
)
def test_rows_that_lose_tokens_are_counted(task, rows, tiny_config, vocabulary):
    """The last one does; a long word is one token, [UNK]."""
    fields = {
        "question_answering": {"settings": {"max_query_length": 6}},
        "multiple_choice": {"settings": {"num_choices": 2}},
        "tagging": {"labels": ("O", "B-x", "I-x")},
        "classification": {"labels": LABELS},
        "pairs": {"task": "classification", "labels": LABELS, "num_texts": 2},
    }.get(task, {})
    spec = TaskSpec(**{"task": task, "max_seq_length": 12} | fields)
    model = tasks.build(tiny_config, spec)
    server = make_predictor(model, vocabulary=vocabulary, spec=spec)
    counts = [server.num_truncated(*zip(row, strict=True)) for row in rows]
    last = 0 if task == "tagging" else 1
    assert counts == [0] * (len(rows) - 1) + [last]
    assert server.num_truncated(*zip(*rows * 3, strict=True)) == 3 * last


def _save(path, config, vocabulary, spec):
    model = tasks.build(config, spec)
    folder.save(path, model, config=config, vocabulary=vocabulary, spec=spec)


def test_load_by_the_public_name(tmp_path, tiny_config, vocabulary):
    spec = TaskSpec(task="classification", max_seq_length=9, labels=("a", "b"))
    _save(tmp_path / "model", tiny_config, vocabulary, spec)
    model = kbert.load(tmp_path / "model")
    assert isinstance(model, kbert.Classifier)
    assert set(model.predict(["good"])[0]["probabilities"]) == {"a", "b"}


def test_a_model_without_answers(tiny_config, vocabulary):
    spec = TaskSpec(task="encoder", max_seq_length=9)
    model = tasks.build(tiny_config, spec)
    message = "The model's task is 'encoder'.*kbert-finetune"
    with pytest.raises(ValueError, match=message):
        make_predictor(model, vocabulary=vocabulary, spec=spec)


def test_the_public_names():
    names = {name for name in dir(kbert) if not name.startswith("_")}
    assert {"BertConfig", "Vocabulary", "build_encoder", "load"} <= names
    for name in names:
        assert getattr(kbert, name) is not None, name
    assert not hasattr(kbert, "no_such_name")


LIGHT = """
import sys
import kbert
kbert.BertConfig(vocab_size=5, lower_case=True), dir(kbert)
loaded = {"keras", "tensorflow", "tensorflow_text"} & set(sys.modules)
assert not loaded, loaded
"""


def test_import_loads_neither_keras_nor_tensorflow():
    subprocess.run([sys.executable, "-c", LIGHT], check=True)
