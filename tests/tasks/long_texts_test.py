# SPDX-License-Identifier: Apache-2.0
"""Texts longer than a row, against a loop over their windows."""

import dataclasses

import keras
import numpy as np
import pytest

import kbert
from kbert import tasks
from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel
from kbert.data import batching
from kbert.tasks import TaskSpec
from kbert.training.optimizer import AdamW
from tests.conftest import TEN_WORDS

LENGTH, STRIDE = 8, 4
ROOM = LENGTH - 2  # [CLS] and [SEP]
WORDS = [word for word in TEN_WORDS if word[0].isalpha()]
# By task: its output, the layers of the head, and fields of the spec.
TASKS = {
    "classification": ("logits", "classifier", {"labels": ("a", "b", "c")}),
    "regression": ("value", "regressor", {}),
    "embedding": (
        "embedding",
        "embedding_dense_0",
        {"settings": {"pooling": "max", "dense": ["5:tanh"]}},
    ),
}


def spec_of(task, **settings):
    fields = dict(TASKS[task][2])
    settings = {**fields.pop("settings", {}), **settings}
    return TaskSpec(
        task=task, max_seq_length=LENGTH, settings=settings, **fields
    )


def texts_of(sizes, seed=5):
    """Random texts of so many words, each a token."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size)) for size in sizes]


@pytest.fixture
def task(build, tiny_config, vocabulary):
    """A function of a spec: a task whose weights do not depend on windows."""

    def task(spec):
        plain = dataclasses.replace(spec, settings=spec_of(spec.task).settings)
        model = tasks.build(tiny_config, spec)
        keras.utils.set_random_seed(3)
        folder.copy_weights(build(plain), model)
        loaded = LoadedModel(model, tiny_config, vocabulary, spec)
        return tasks.task_class(spec.task)(loaded)

    return task


def by_hand(task, text, join):
    """What a task's head makes of the vectors of a text's windows."""
    output, name, _ = TASKS[task.spec.task]
    words = text.split()
    starts = [0]
    while starts[-1] + ROOM < len(words):
        starts.append(starts[-1] + STRIDE)
    joined = task.keras_model.get_layer("join_windows")
    encoder = keras.Model(task.keras_model.input, joined.input[0])
    vectors = []
    for start in starts:
        tokens = [5 + TEN_WORDS.index(x) for x in words[start : start + ROOM]]
        ids = np.array([[[2, *tokens, 3]]])
        inputs = {"token_ids": ids, "segment_ids": ids * 0}
        (vector,) = encoder({**inputs, "padding_mask": ids * 0 + 1})
        vectors.append(vector)
    vector = {"mean": np.mean, "max": np.max}[join](vectors, axis=0)
    kernel, bias = task.keras_model.get_layer(name).get_weights()
    found = vector @ kernel + bias
    return {"logits": found, "value": found[0], "embedding": np.tanh(found)}[
        output
    ]


def outputs(task, texts, batch_size):
    """Of the graph that predicts."""
    output = TASKS[task.spec.task][0]
    found = []
    for start in range(0, len(texts), batch_size):
        got = task.predictor._output_of_texts(
            output, np.array(texts[start : start + batch_size])
        )
        found.append(got)
    return np.concatenate(found)


@pytest.mark.parametrize("join", ["mean", "max"])
@pytest.mark.parametrize("name", TASKS)
def test_windows_are_joined_before_the_head(task, name, join):
    long = task(
        spec_of(name, long_texts="windows", window_join=join, stride=STRIDE)
    )
    texts = texts_of([1, ROOM, ROOM + 1, 11, 23, 3, 40, 17])
    want = [by_hand(long, text, join) for text in texts]
    # 40 words have 10 windows: all at once are 80, more than 32.
    for batch_size in (1, 8):
        got = outputs(long, texts, batch_size)
        np.testing.assert_allclose(got, want, atol=2e-6)
    examples = _examples(long, texts)
    (inputs, _), *_ = batching.dataset(examples, batch_size=8, seed=None)
    assert inputs["token_ids"].shape[1:] == (10, LENGTH)
    got = long.keras_model(inputs)[TASKS[name][0]]
    if name == "embedding":  # a text alone is a pair with itself
        got = got[::2]
    np.testing.assert_allclose(got, want, atol=2e-6)


def _examples(task, texts):
    """Tokenized rows, whose labels do not matter."""
    labels = {"classification": ["a"] * 8, "regression": [1] * 8}
    return task.examples(task.rows(texts, labels.get(task.spec.task)))


@pytest.mark.parametrize("name", TASKS)
def test_short_texts_have_the_values_of_a_row(task, name):
    short, long = (
        task(spec_of(name)),
        task(spec_of(name, long_texts="windows", stride=STRIDE)),
    )
    texts = texts_of([0, 1, 3, ROOM])
    want = outputs(short, texts, 4)
    np.testing.assert_allclose(outputs(long, texts, 4), want, atol=1e-6)
    # Beside a long one too.
    got = outputs(long, [*texts, *texts_of([30])], 5)[:4]
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_last_third_is_found(tiny_config, vocabulary):
    """Where alone the label stands: without windows it cannot be learnt."""
    config = tiny_config.with_dropout(0.0)
    ends = ["good", "bad"] * 8
    texts = [" ".join(["the film was very long ."] * 3 + [x]) for x in ends]
    scores = {}
    for long_texts in ("truncate", "windows"):
        keras.utils.set_random_seed(1)
        spec = TaskSpec(
            task="classification",
            max_seq_length=LENGTH,
            labels=("bad", "good"),
            settings={"long_texts": long_texts},
        )
        model = tasks.build(config, spec)
        classifier = kbert.Classifier(
            LoadedModel(model, config, vocabulary, spec)
        )
        classifier.compile(AdamW(1e-2))
        classifier.fit(texts, ends, batch_size=8, epochs=40, verbose=0)
        scores[long_texts] = classifier.evaluate(texts, ends)["accuracy"]
    assert scores == {"truncate": 0.5, "windows": 1.0}


def test_what_is_truncated_is_counted(task):
    sizes = [ROOM, 18, 19, 60]  # 4 windows read 6 + 3 * 4
    long = task(
        spec_of(
            "classification",
            long_texts="windows",
            stride=STRIDE,
            max_windows=4,
        )
    )
    texts = texts_of(sizes)
    rows = long.rows(texts, ["a"] * 4)
    assert long.examples(rows).num_truncated == 2
    assert long.predictor.num_truncated(texts) == 2
    cut = [" ".join(text.split()[:18]) for text in texts]
    np.testing.assert_allclose(
        outputs(long, texts, 4), outputs(long, cut, 4), atol=1e-6
    )


def test_a_prompt_is_in_the_first_window(task):
    settings = {"long_texts": "windows", "stride": STRIDE}
    plain = task(spec_of("embedding", **settings))
    prompt = {"query_prompt": "not ", "document_prompt": "not "}
    prompted = task(spec_of("embedding", **settings, **prompt))
    texts = texts_of([3, 20])
    want = plain.predict([f"not {text}" for text in texts])
    np.testing.assert_allclose(prompted.predict(texts), want, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"long_texts": "split"}, 'long_texts is "split"'),
        ({"stride": 4}, "stride is 4; needs none without long_texts=windows"),
        ({"max_windows": 4}, "max_windows is 4; needs none without"),
        ({"window_join": "max"}, "window_join is 'max'; needs none without"),
        ({"long_texts": "windows", "max_windows": 65}, "max_windows is 65"),
        ({"long_texts": "windows", "stride": 0}, "stride is 0"),
        ({"long_texts": "windows", "window_join": "sum"}, "window_join is"),
    ],
)
@pytest.mark.parametrize("name", TASKS)
def test_settings_that_are_wrong(name, settings, words):
    with pytest.raises(ValueError, match=words):
        spec_of(name, **settings)


def test_pairs_have_no_windows():
    with pytest.raises(ValueError, match="needs 'truncate' for pairs"):
        dataclasses.replace(
            spec_of("regression", long_texts="windows"), num_texts=2
        )


def test_a_model_that_is_read_with_windows(task, tmp_path):
    """Its folder says otherwise: the argument goes before it."""
    plain = task(spec_of("classification"))
    plain.save(tmp_path / "model")
    texts = texts_of([20, 3])
    windows = {"long_texts": "windows", "stride": STRIDE}
    for read in (kbert.load, kbert.Classifier.from_pretrained):
        long = read(tmp_path / "model", **windows)
        want = [by_hand(long, text, "mean") for text in texts]
        np.testing.assert_allclose(outputs(long, texts, 2), want, atol=2e-6)
    long.save(tmp_path / "long")
    again = kbert.load(tmp_path / "long")
    assert again.spec == long.spec
    np.testing.assert_allclose(outputs(again, texts, 2), want, atol=2e-6)
