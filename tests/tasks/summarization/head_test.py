# SPDX-License-Identifier: Apache-2.0
"""A score for each sentence: the model, its decoding and ROUGE."""

import sys

import keras
import numpy as np
import pytest

from kbert import models, tasks
from kbert.tasks import TaskSpec
from kbert.tasks.summarization import head, metrics
from kbert.tasks.summarization.settings import Settings

# [CLS] the film [SEP] [CLS] good [SEP] and [CLS] bad [SEP]
INPUTS = {
    "token_ids": [[2, 5, 6, 3, 2, 8, 3], [2, 9, 3, 0, 0, 0, 0]],
    "segment_ids": [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]],
    "padding_mask": [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0]],
    "sentence_positions": [[0, 4], [0, 0]],
}
INPUTS = {name: np.array(rows, "int32") for name, rows in INPUTS.items()}


def _model(config):
    model = head.build_summarizer(config)
    rng = np.random.default_rng(4)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return model


def test_a_score_is_of_the_hidden_state_before_its_sentence(tiny_config):
    model = _model(tiny_config)
    encoder = models.build_encoder(tiny_config)
    for layer in model.layers:
        if layer.weights and layer.name != "sentence_score":
            encoder.get_layer(layer.name).set_weights(layer.get_weights())
    inputs = {k: v for k, v in INPUTS.items() if k != "sentence_positions"}
    hidden = encoder(inputs)["sequence"].numpy()
    kernel, bias = model.get_layer("sentence_score").get_weights()
    want = (hidden @ kernel + bias)[[0, 0, 1, 1], [0, 4, 0, 0], 0]
    got = model(INPUTS)["logits"].numpy()
    assert got.shape == (2, 2)
    np.testing.assert_allclose(got.ravel(), want, atol=1e-5)
    assert len(set(np.round(want, 2))) == 3


def test_saved_reloaded_and_in_mixed_precision(tiny_config, tmp_path):
    model = _model(tiny_config)
    want = model(INPUTS)["logits"].numpy()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(INPUTS)["logits"], want)
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = head.build_summarizer(tiny_config)
    mixed.set_weights(model.get_weights())
    got = mixed(INPUTS)["logits"]
    assert got.dtype == "float32"
    np.testing.assert_allclose(got, want, atol=0.05 * np.abs(want).max())


def test_the_best_in_their_order():
    logits = np.array([[3.0, -1.0, 5.0, 4.0], [2, 2, 9, 2], [-7, 1, -9, 0]])
    given = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 0, 0]], bool)
    scores, best = head.decode(logits, given, 2)
    assert np.array(best).tolist() == [[2, 3], [0, 1], [0, -1]]
    assert best.dtype == "int32"
    want = np.where(given, 1 / (1 + np.exp(-logits)), 0)
    np.testing.assert_allclose(scores, want, rtol=1e-5)
    _, best = head.decode(logits, given, 5)
    assert np.array(best).tolist() == [
        [0, 1, 2, 3, -1],
        [0, 1, 3, -1, -1],
        [0, -1, -1, -1, -1],
    ]
    scores, best = head.decode(logits[:, :0], given[:, :0], 1)
    assert np.array(scores).shape == (3, 0)
    assert np.array(best).tolist() == [[-1]] * 3


def test_rouge_by_hand():
    """Words: 4 of 6 and 5; pairs of them: 2 of 5 and 4; in order 4."""
    pytest.importorskip("rouge_score")
    (row,) = metrics.rouge(
        ["The films were long, not bad."], ["the film was long: not!"]
    )
    # "films" and "film" have one stem: the, film, long, not.
    assert row == {
        "rouge_1": pytest.approx(2 * 4 / (6 + 5)),
        "rouge_2": pytest.approx(2 * 2 / (5 + 4)),
        "rouge_l": pytest.approx(2 * 4 / (6 + 5)),
    }
    scores = metrics.scores(
        ["a b", "c d e f"], ["b a", "c d e f"], [[0, 1], [2]], [[1, 2], [2, 3]]
    )
    assert scores == {
        "rouge_1": 1.0,
        "rouge_2": 0.5,
        "rouge_l": 0.75,
        "precision": pytest.approx(2 / 3),
    }
    nothing = metrics.scores([""], ["a"], [[]], [[0]])
    assert set(nothing.values()) == {0.0}


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    message = r"install kbert-keras\[rouge\]"
    with pytest.raises(ValueError, match=message) as error:
        metrics.check_rouge()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", [0, "3", True])
def test_no_sentence_is_no_summary(number):
    spec = TaskSpec(task="summarization", max_seq_length=8)
    assert spec.settings == Settings(num_sentences=3)
    with pytest.raises(ValueError, match=r"num_sentences is .*; needs"):
        TaskSpec(
            task="summarization",
            max_seq_length=8,
            settings={"num_sentences": number},
        )
    assert tasks.head("summarization").settings is Settings
