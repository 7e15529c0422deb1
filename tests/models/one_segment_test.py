# SPDX-License-Identifier: Apache-2.0
"""An encoder with a single segment vector, given two texts in a row."""

import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert import models, tasks
from kbert.checkpoints import folder, huggingface
from kbert.checkpoints.folder import LoadedModel
from kbert.serving.signatures import Signatures
from kbert.tasks import TaskSpec

PAIRS = TaskSpec(
    task="classification", max_seq_length=12, labels=("a", "b"), num_texts=2
)
NOTE = "type_vocab_size is 1: the one segment vector serves both texts of a"


@pytest.fixture
def one(tiny_config):
    return dataclasses.replace(tiny_config, type_vocab_size=1)


def _random(model):
    rng = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return model


def _with_rows_alike(config, spec, model):
    """The same model with two segment vectors, which are equal."""
    two = tasks.build(dataclasses.replace(config, type_vocab_size=2), spec)
    for ours, theirs in zip(two.weights, model.weights, strict=True):
        ours.assign(np.broadcast_to(theirs, ours.shape))
    return two


@pytest.mark.parametrize(
    "fields",
    [
        {"task": "classification", "labels": ("a", "b"), "num_texts": 2},
        {"task": "question_answering", "num_texts": 2},
        {"task": "multiple_choice", "settings": {"num_choices": 2}},
        {"task": "reranking"},
        {"task": "summarization"},
        {"task": "pretraining", "num_texts": 2},
    ],
    ids=lambda fields: fields["task"],
)
def test_both_segments_have_the_one_vector(fields, one, batch):
    spec = TaskSpec(max_seq_length=12, **fields)
    model = _random(tasks.build(one, spec))
    two = _with_rows_alike(one, spec, model)
    inputs = {**batch, "sentence_positions": batch["mask_positions"]}
    if spec.task in ("multiple_choice", "reranking"):
        inputs = {k: np.stack([v, v[::-1]], 1) for k, v in inputs.items()}
    inputs = {name: inputs[name] for name in model.input}
    expected = two(inputs)
    for name, got in model(inputs).items():
        np.testing.assert_allclose(got, expected[name], atol=1e-5)
    assert tasks.segment_note(one, spec).startswith(NOTE)


def test_the_one_vector_learns_from_both_texts(one, batch):
    model = _random(tasks.build(one, PAIRS))
    two = _with_rows_alike(one, PAIRS, model)
    inputs = {name: batch[name] for name in model.input}
    gradients = []
    for each in (model, two):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(each(inputs)["logits"]))
        table = each.get_layer("embeddings").segment_table
        gradients.append(tape.gradient(loss, table.value).numpy())
    assert np.abs(gradients[1]).min(1).max() > 0
    np.testing.assert_allclose(
        gradients[0], gradients[1].sum(0, keepdims=True), rtol=1e-4, atol=1e-6
    )


def test_load_says_the_one_vector(one, vocabulary, tmp_path, capsys):
    for name, spec in {
        "pairs": PAIRS,
        "texts": dataclasses.replace(PAIRS, num_texts=1),
    }.items():
        folder.save(
            tmp_path / name,
            tasks.build(one, spec),
            config=one,
            vocabulary=vocabulary,
            spec=spec,
        )
    kbert.load(tmp_path / "texts")
    kbert.Embedder.from_pretrained(tmp_path / "pairs")
    assert NOTE not in capsys.readouterr().err
    kbert.load(tmp_path / "pairs")
    assert f"/pairs: {NOTE}" in capsys.readouterr().err


def test_single_texts_need_no_note(one, tiny_config):
    for task in ("encoder", "masked_lm", "regression"):
        spec = TaskSpec(task=task, max_seq_length=12)
        assert tasks.segment_note(one, spec) == ""
    assert tasks.segment_note(tiny_config, PAIRS) == ""


@pytest.mark.slow
def test_requests_of_token_ids(one, vocabulary):
    model = _random(tasks.build(one, PAIRS))
    graphs = Signatures(model, vocabulary=vocabulary, spec=PAIRS).by_name()
    found = graphs["serving_default"](
        text_a=tf.constant(["the film"]), text_b=tf.constant(["bad"])
    )
    ids = {
        "token_ids": tf.constant([[2, 5, 6, 3, 9, 3]]),
        "segment_ids": tf.constant([[0, 0, 0, 0, 1, 1]]),
        "lengths": tf.constant([6]),
    }
    got = tf.nn.softmax(graphs["token_ids"](**ids)["logits"])
    np.testing.assert_allclose(got, found["probabilities"], atol=1e-5)
    ids["segment_ids"] = tf.constant([[0, 0, 0, 0, 1, 2]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="not below 2"):
        graphs["token_ids"](**ids)


def _save(path, loaded):
    parts = {n: getattr(loaded, n) for n in ("config", "vocabulary", "spec")}
    folder.save(path, loaded.model, **parts)
    return path


@pytest.fixture
def pairs(one, vocabulary):
    model = _random(tasks.build(one, PAIRS))
    return LoadedModel(model, one, vocabulary, PAIRS)


@pytest.mark.slow
def test_commands_say_it_once(pairs, tmp_path, call):
    path = _save(tmp_path / "pairs", pairs)
    encoder = models.build_encoder(pairs.config)
    spec = TaskSpec(task="encoder", max_seq_length=12)
    init = LoadedModel(encoder, pairs.config, pairs.vocabulary, spec)
    init = _save(tmp_path / "init", init)
    table = tmp_path / "t.tsv"
    table.write_text("a\tb\tlabel\nthe film\tbad\ta\nbad\tgood\tb\n")
    columns = "--text_columns=a,b"
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        call("predict", f"--model={path}", f"--input={table}", columns)
        call("evaluate", f"--model={path}", f"--input={table}", columns)
    assert stderr.getvalue().count(f"{path}: {NOTE}") == 2
    output = tmp_path / "out"
    flags = [f"--init={init}", f"--train={table}", f"--output_dir={output}"]
    flags += ["--epochs=1", "--max_seq_length=12", columns]
    said = call("finetune", *flags)
    assert said.count(f"{init}: {NOTE}") == 1
    said = call(
        "finetune", *flags[:-1], "--text_columns=a", f"--output_dir={output}2"
    )
    assert NOTE not in said


def test_transformers_gives_no_segments(pairs, tmp_path):
    transformers = pytest.importorskip("transformers")
    huggingface.save(pairs, tmp_path / "hf", report=print)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    rows = tokenizer("the film", "bad", return_tensors="pt")
    assert rows["input_ids"].tolist() == [[2, 5, 6, 3, 9, 3]]
    auto = transformers.AutoModelForSequenceClassification
    theirs = auto.from_pretrained(tmp_path / "hf")(**rows).logits.detach()
    inputs = {
        "token_ids": [[2, 5, 6, 3, 9, 3]],
        "segment_ids": [[0, 0, 0, 0, 1, 1]],
        "padding_mask": [[1] * 6],
    }
    inputs = {name: np.array(x, "int32") for name, x in inputs.items()}
    got = pairs.model(inputs)["logits"]
    np.testing.assert_allclose(got, theirs.numpy(), atol=1e-5)
    again = huggingface.load(tmp_path / "hf", report=print)
    assert again.config.type_vocab_size == 1
    file = json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text())
    assert "token_type_ids" not in file["model_input_names"]


def test_kerashub_gets_the_vector_twice(pairs, tmp_path):
    hub = pytest.importorskip("keras_hub")
    from kbert.checkpoints import keras_hub

    lines = []
    keras_hub.save(pairs, tmp_path / "preset", report=lines.append)
    assert any("segment vector is written twice" in line for line in lines)
    preset = str(tmp_path / "preset")
    theirs = hub.models.BertTextClassifier.from_preset(preset)
    inputs = {
        "token_ids": np.array([[2, 5, 6, 3, 9, 3]]),
        "segment_ids": np.array([[0, 0, 0, 0, 1, 1]]),
        "padding_mask": np.ones((1, 6), int),
    }
    want = pairs.model({k: v.astype("int32") for k, v in inputs.items()})
    np.testing.assert_allclose(theirs(inputs), want["logits"], atol=1e-5)
