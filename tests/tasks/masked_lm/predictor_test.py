# SPDX-License-Identifier: Apache-2.0
"""[MASK] in, tokens out: those of the model, for several in a text too."""

import json

import numpy as np
import pytest
import tensorflow as tf

from kbert import tasks
from kbert.checkpoints import folder
from kbert.tasks import TaskSpec
from kbert.tasks.masked_lm.predictor import MaskFiller

TEXTS = ["The [MASK] was [MASK].", "[MASK]", b"\xff[SEP] bad[MASK]very"]
# [CLS] 2, [SEP] 3, [MASK] 4, the 5, was 7, bad 9, very 11, . 14; [UNK] 1
IDS = [[2, 5, 4, 7, 4, 14, 3], [2, 4, 3], [2, 1, 1, 1, 9, 4, 11, 3]]


_MADE = []  # once: tracing takes a while


@pytest.fixture
def parts(tiny_config, vocabulary):
    """A model that tells tokens apart, its vocabulary and its task."""
    if not _MADE:
        parts = _parts(tiny_config, vocabulary)
        _MADE.extend([parts, MaskFiller(**parts)])
    return _MADE[0]


@pytest.fixture
def filler(parts):
    return _MADE[1]


def _parts(tiny_config, vocabulary):
    spec = TaskSpec(task="pretraining", max_seq_length=10, num_texts=2)
    model = tasks.build(tiny_config, spec)
    rng = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(variable + 0.5 * rng.normal(size=variable.shape))
    return {"model": model, "vocabulary": vocabulary, "spec": spec}


@pytest.fixture
def path(tmp_path, parts, tiny_config):
    folder.save(tmp_path / "model", config=tiny_config, **parts)
    return tmp_path / "model"


def _expected(parts, ids, top_k):
    """The best tokens of each [MASK] among ids, from the model alone."""
    row = np.array([ids])
    at = np.flatnonzero(row[0] == 4)[None]
    outputs = parts["model"](
        {
            "token_ids": row,
            "segment_ids": np.zeros_like(row),
            "padding_mask": np.ones_like(row),
            "mask_positions": at,
        }
    )
    logits = outputs["mlm_logits"].numpy()[0]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return [
        {
            parts["vocabulary"].tokens[token]: share[token]
            for token in np.argsort(-share)[:top_k]
        }
        for share in shares
    ]


def _same(got, want):
    assert [list(fill) for fill in got] == [list(fill) for fill in want]
    for mine, theirs in zip(got, want, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_answers_are_the_models_for_the_tokens(filler, parts, batch_size):
    done = []
    answers = filler.predict(
        TEXTS,
        top_k=15,
        batch_size=batch_size,
        progress=lambda *step: done.append(step),
    )
    assert [len(row["masks"]) for row in answers] == [2, 1, 1]
    for answer, ids in zip(answers, IDS, strict=True):
        _same(answer["masks"], _expected(parts, ids, 15))
    assert done[-1] == (3, 3) and len(done) == -(-3 // batch_size)
    assert list(answers[0]["masks"][0]) != list(answers[0]["masks"][1])


def test_no_texts(filler):
    assert filler.predict([], top_k=15) == []


def test_what_cannot_be_filled_in_is_named(filler):
    with pytest.raises(ValueError, match=r"^Text 2: no \[MASK\]\.$"):
        filler.predict(["a [MASK]", "[mask] and [ MASK ]", ""])
    long = "the " * 7 + "[MASK] [MASK]"  # with [CLS] and [SEP] 8 of 10
    with pytest.raises(
        ValueError, match="^Text 3: .* number 2 is behind .* 10"
    ):
        filler.predict(["[MASK]", "[MASK]", long], batch_size=2)
    with pytest.raises(ValueError, match="top_k is 16; needs 1 to 15"):
        filler.predict(["[MASK]"], top_k=16)
    with pytest.raises(ValueError, match="Got the text .*; needs a list"):
        filler.predict("[MASK]")
    with pytest.raises(ValueError, match=r"^Text 2: text is \['\[MASK\]'\]; "):
        filler.predict(["[MASK]", ["[MASK]"]])
    with pytest.raises(ValueError, match="check_text"):
        filler(tf.constant("[MASK]"))


def test_the_command(path, parts, call):
    said = call("predict", f"--model={path}", f"--text={TEXTS[0]}", "--top_k=2")
    _same(json.loads(said)["masks"], _expected(parts, IDS[0], 2))
    with pytest.raises(ValueError, match=r"^--text:1: no \[MASK\]"):
        call("predict", f"--model={path}", "--text=none")


def test_top_k_is_for_masks(tmp_path, tiny_config, vocabulary, call):
    spec = TaskSpec(task="classification", max_seq_length=9, labels=("a", "b"))
    folder.save(
        tmp_path / "model",
        tasks.build(tiny_config, spec),
        config=tiny_config,
        vocabulary=vocabulary,
        spec=spec,
    )
    with pytest.raises(ValueError, match="^--top_k: .*model fills in no"):
        call("predict", f"--model={tmp_path}/model", "--text=a", "--top_k=2")


def test_a_graph_for_any_number_of_texts(filler):
    answer = filler.__call__.get_concrete_function(
        tf.TensorSpec((None,), tf.string), 15
    )
    got = answer(tf.constant([], tf.string))
    assert got["masks"].shape == (0,)
    got = answer(tf.constant(["a", "[MASK] [MASK]"]))
    np.testing.assert_array_equal(got["masks"], [0, 2])
    assert got["tokens"].shape == (2, 2, 15)
