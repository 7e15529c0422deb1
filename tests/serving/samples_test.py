# SPDX-License-Identifier: Apache-2.0
"""One row for each signature: neutral texts, or those that are given."""

import pytest
import tensorflow as tf

from kbert.serving.samples import Samples
from tests.serving.conftest import LENGTH, SPECS

B, BN = (None,), (None, None)
TEXT = {"text": (B, tf.string)}
PAIR = {"text_a": (B, tf.string), "text_b": (B, tf.string)}
QUESTION = {"question": (B, tf.string), "context": (B, tf.string)}
CHOICES = {"text": (B, tf.string), "choices": ((None, 3), tf.string)}
WORDS = {"words": (BN, tf.string), "num_words": (B, tf.int32)}
RERANK = {
    "query": (B, tf.string),
    "texts": (BN, tf.string),
    "num_texts": (B, tf.int32),
}
SENTENCES = {"sentences": (BN, tf.string), "num_sentences": (B, tf.int32)}
IDS = {
    "token_ids": (BN, tf.int32),
    "segment_ids": (BN, tf.int32),
    "lengths": (B, tf.int32),
}


def _specs(inputs):
    return {k: tf.TensorSpec(*spec, k) for k, spec in inputs.items()}


def _row(samples, inputs):
    """The values of a request, whose one row they are."""
    request = samples.request("name", _specs(inputs))
    assert request.model_spec.signature_name == "name"
    assert set(request.inputs) == set(inputs)
    row = {}
    for name, tensor in request.inputs.items():
        assert tensor.dtype == inputs[name][1].as_datatype_enum
        (value,) = tf.make_ndarray(tensor).tolist()
        many = isinstance(value, list)
        row[name] = [_text(x) for x in value] if many else _text(value)
    return row


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def test_given_texts(vocabulary):
    def row(task, given, texts, inputs=None):
        samples = Samples(vocabulary, SPECS[task], _specs(given), texts)
        return _row(samples, inputs or given)

    assert row("pairs", PAIR, ["a", "b"]) == {"text_a": "a", "text_b": "b"}
    assert row("pairs", PAIR, ["a", "b"], TEXT) == {"text": "a"}
    assert row("tagging", TEXT, ["Jo is, ok."], WORDS) == {
        "words": ["Jo", "is", ",", "ok", "."],
        "num_words": 5,
    }
    assert row("summarization", SENTENCES, ["a", "b"]) == {
        "sentences": ["a", "b"],
        "num_sentences": 2,
    }
    assert row("multiple_choice", CHOICES, list("tabc")) == {
        "text": "t",
        "choices": ["a", "b", "c"],
    }
    assert row("reranking", RERANK, ["q", "a", "b", "c"]) == {
        "query": "q",
        "texts": ["a", "b", "c"],
        "num_texts": 3,
    }
    assert row("masked_lm", TEXT, ["the [MASK] film"], IDS) == {
        "token_ids": [2, 5, 4, 6, 3],
        "segment_ids": [0] * 5,
        "lengths": 5,
    }


def test_neutral_ones(vocabulary):
    def row(task, given, inputs=None):
        samples = Samples(vocabulary, SPECS[task], _specs(given))
        return _row(samples, inputs or given)

    assert "[MASK]" in row("masked_lm", TEXT)["text"]
    assert "[MASK]" not in row("classification", TEXT)["text"]
    five = {"text": (B, tf.string), "choices": ((None, 5), tf.string)}
    assert len(row("multiple_choice", five)["choices"]) == 5
    assert row("tagging", TEXT, WORDS)["words"][:2] == ["Ada", "Lovelace"]
    for given in (PAIR, QUESTION, SENTENCES, RERANK):
        assert all(row("encoder", TEXT, given).values())
    long = row("encoder", TEXT, IDS)
    assert long["lengths"] == len(long["token_ids"]) <= LENGTH
    lists = {
        "token_ids": ((None, None, None), tf.int32),
        "segment_ids": ((None, None, None), tf.int32),
        "lengths": (BN, tf.int32),
    }
    (ids,) = row("reranking", RERANK, lists)["token_ids"]
    assert ids == long["token_ids"]


@pytest.mark.parametrize(
    ("task", "inputs", "texts", "message"),
    [
        ("encoder", TEXT, ["a", "b"], "2 texts; needs 1: text"),
        ("pairs", PAIR, ["a"], "1 texts; needs 2: text_a, text_b"),
        ("multiple_choice", CHOICES, ["a", "b"], "2 texts; needs 4: text, ch"),
        ("masked_lm", TEXT, ["a"], r"--sample_text='a': needs a \[MASK\]"),
    ],
)
def test_wrong_texts(task, inputs, texts, message, vocabulary):
    with pytest.raises(ValueError, match=message):
        Samples(vocabulary, SPECS[task], _specs(inputs), texts)
