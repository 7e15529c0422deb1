# SPDX-License-Identifier: Apache-2.0
"""Every signature of every task: rows, joined requests, wrong calls."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.serving.signatures import Signatures
from tests.serving import signature_requests as requests
from tests.serving.conftest import SPECS

_OTHERS = {
    "tagging": {"words"},
    "pretraining": {"fill_mask", "next_sentence"},
    "masked_lm": {"fill_mask"},
    "reranking": {"rerank"},
    "embedding": {"embeddings_query", "embeddings_document"},
}


@pytest.fixture
def graphs(signatures):
    """A function of a task's name: its signatures' graphs by name."""
    return lambda task: signatures(task).by_name()


# The others' graphs take long to make and show little more.
_QUICK = ("classification", "tagging", "pretraining")


_QUICK_TASKS = pytest.mark.parametrize(
    "task",
    [
        task if task in _QUICK else pytest.param(task, marks=pytest.mark.slow)
        for task in SPECS
    ],
)


@_QUICK_TASKS
def test_rows_never_influence_each_other(task, graphs):
    """Nor does what a server does that joins requests, whatever the bytes."""
    found = graphs(task)
    names = {"serving_default", "embeddings", "token_ids"}
    assert set(found) == names | _OTHERS.get(SPECS[task].task, set())
    rng = np.random.default_rng(6)
    for graph in found.values():
        asked = [
            requests.request(graph, rows, rng, requests.strange_text)
            for rows in (3, 1, 5)
        ]
        together = requests.ask_joined(graph, asked, allowed=(4, 16))
        for one, got in zip(asked, together, strict=True):
            want = requests.ask(graph, one)
            rows = len(next(iter(one.values())))
            requests.assert_valid(want, rows)
            requests.assert_same(got, want)
            alone = [
                requests.ask(graph, {k: v[i : i + 1] for k, v in one.items()})
                for i in range(rows)
            ]
            for i, row in enumerate(alone):
                requests.assert_same(
                    {k: v[i : i + 1] for k, v in want.items()}, row
                )


def test_token_ids_give_what_the_texts_give(graphs, vocabulary):
    """[CLS] not good . [SEP] and [CLS] the film [SEP], padded with junk."""
    found = graphs("classification")
    texts = requests.ask(
        found["serving_default"], {"text": ["not good.", "the film"]}
    )
    ids = {
        "token_ids": np.int32([[2, 10, 8, 14, 3, 9], [2, 5, 6, 3, -7, 99]]),
        "segment_ids": np.int32([[0] * 6, [0, 0, 0, 0, 5, -1]]),
        "lengths": np.int32([5, 4]),
    }
    logits = requests.ask(found["token_ids"], ids)["logits"]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(shares, texts["probabilities"], atol=1e-5)


def test_embeddings_are_means_of_the_tokens(build, vocabulary):
    """[CLS] not good . [SEP]: five rows of the encoder's."""
    model = build(SPECS["encoder"])
    made = Signatures(model, vocabulary=vocabulary, spec=SPECS["encoder"])
    got = requests.ask(made.by_name()["embeddings"], {"text": ["not good."]})
    inputs = {
        "token_ids": np.int32([[2, 10, 8, 14, 3]]),
        "segment_ids": np.zeros((1, 5), "int32"),
        "padding_mask": np.ones((1, 5), "int32"),
    }
    want = model(inputs)["sequence"].numpy().mean(axis=1)
    np.testing.assert_allclose(got["embedding"], want, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_ids": [[2, 15, 3]]}, "token_ids has one that is not below"),
        ({"token_ids": [[2, -1, 3]]}, "token_ids has one below 0"),
        ({"segment_ids": [[0, 2, 0]]}, "segment_ids has one that is not"),
        ({"segment_ids": [[0]]}, "segment_ids and token_ids differ in shape"),
        ({"lengths": [0]}, "lengths has one below 1"),
        ({"lengths": [4]}, "lengths has one beyond the tokens"),
        ({"lengths": [3, 3]}, "lengths and token_ids differ in their"),
        (
            {
                "token_ids": [[5] * 25],
                "segment_ids": [[0] * 25],
                "lengths": [25],
            },
            "beyond the 24 that the model takes",
        ),
    ],
)
def test_wrong_token_ids_are_errors(change, message, graphs):
    if "regression" not in _FOUND:
        _FOUND["regression"] = graphs("regression")["token_ids"]
    given = {
        "token_ids": [[2, 5, 3]],
        "segment_ids": [[0, 0, 0]],
        "lengths": [3],
    }
    inputs = {k: np.int32(v) for k, v in {**given, **change}.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        requests.ask(_FOUND["regression"], inputs)


_FOUND = {}


@pytest.mark.parametrize(
    ("task", "name", "inputs", "message"),
    [
        (
            "pairs",
            "serving_default",
            {"text_a": ["a", "b"], "text_b": ["a"]},
            "text_b and text_a differ in their numbers of rows",
        ),
        (
            "tagging",
            "words",
            {"words": [["the"]], "num_words": np.int32([2])},
            "num_words is more than there are",
        ),
        (
            "tagging",
            "words",
            {"words": [["the"]], "num_words": np.int32([-1])},
            "num_words is below 0",
        ),
        (
            "multiple_choice",
            "serving_default",
            {"text": ["the"] * 2, "choices": [["a", "b"]] * 3},
            "check_choices",
        ),
    ],
)
def test_wrong_texts_are_errors(task, name, inputs, message, graphs):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        requests.ask(graphs(task)[name], inputs)


@_QUICK_TASKS
def test_any_shape_and_number_is_answered_or_refused(task, graphs):
    """Whatever a server lets through; some ops crash at another rank."""
    rng = np.random.default_rng(8)
    for graph in graphs(task).values():
        for rows in (0, 2):
            one = requests.request(graph, rows, rng)
            requests.assert_valid(requests.ask(graph, one), rows)
            for name, bad in requests.malformed(one):
                requests.assert_refused(graph, name, bad)


@pytest.mark.parametrize("task", ["tagging", "summarization"])
@pytest.mark.parametrize("width", [2**31 - 1, 2**31, 2**40])
def test_no_rows_of_any_width_take_no_memory(task, width, graphs):
    """A message of thirty bytes can claim such a shape."""
    name = {"tagging": "words"}.get(task, "serving_default")
    graph = graphs(task)[name]
    table, counts = requests.specs_of(graph)
    given = {table: np.zeros((0, width), object), counts: np.zeros(0, "int32")}
    requests.assert_valid(requests.ask(graph, given), 0)
