# SPDX-License-Identifier: Apache-2.0
"""Models without the work for padding against the same ones with it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kbert import models, tasks
from kbert.tasks import TaskSpec

SPECS = {
    "pretraining": {},
    "classification": {"labels": ("a", "b", "c")},
    "regression": {},
    "tagging": {"labels": ("O", "B-x", "I-x")},
    "question_answering": {"num_texts": 2},
    "reranking": {},
    "summarization": {},
    "encoder": {},
    "embedding": {},
}


def _model(config, task):
    """Whose weights tell tokens apart."""
    parts = {"task": task, "max_seq_length": 8, **SPECS[task]}
    model = tasks.build(config, TaskSpec(**parts))
    rng = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return model


def _inputs(model, batch):
    named = {**batch, "sentence_positions": np.array([[0, 3], [0, 5], [0, 0]])}
    inputs = {name: named[name].astype("int32") for name in model.input}
    if len(model.input["token_ids"].shape) == 3:
        inputs = {k: np.stack([v, v[::-1]], 1) for k, v in inputs.items()}
    return inputs


@pytest.mark.parametrize("task", SPECS)
def test_the_numbers_are_the_same(task, tiny_config, batch):
    model = _model(tiny_config, task)
    inputs = _inputs(model, batch)
    want = model(inputs, training=False)
    got = models.without_padding(model)(inputs, training=False)
    assert set(got) == set(want)
    for name, value in want.items():
        value, found = value.numpy(), got[name].numpy()
        if name == "sequence" or task == "tagging":
            is_token = batch["padding_mask"] != 0
            value, found = value[is_token], found[is_token]
        np.testing.assert_allclose(found, value, atol=2e-6)


@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_so_are_the_gradients(task, tiny_config, batch):
    """Of one position's outputs and of all tokens', whatever the parts."""
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = _model(dataclasses.replace(tiny_config, **still), task)
    inputs = _inputs(model, batch)

    def gradients(model):
        with tf.GradientTape() as tape:
            (outputs,) = model(inputs, training=True).values()
            if task == "tagging":
                outputs = outputs[batch["padding_mask"] != 0]
            loss = tf.reduce_sum(tf.sin(outputs))
        variables = [v.value for v in model.trainable_variables]
        return [tf.convert_to_tensor(x) for x in tape.gradient(loss, variables)]

    want = gradients(model)
    for parts in (1, 2):
        unpadded = models.without_padding(model, parts)
        got = gradients(unpadded)
        names = [v.path for v in model.trainable_variables]
        assert [v.path for v in unpadded.trainable_variables] == names
        for name, mine, theirs in zip(names, got, want, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5, err_msg=name)
    assert max(np.abs(x).max() for x in want) > 0.1


def test_what_padding_holds_changes_nothing(tiny_config, batch):
    """And stands for nothing: the blocks give 0 there."""
    unpadded = models.without_padding(_model(tiny_config, "encoder"))
    is_token = batch["padding_mask"] != 0
    other = {
        name: np.where(is_token, batch[name], 1).astype("int32")
        for name in ("token_ids", "segment_ids")
    }
    inputs = {name: batch[name] for name in unpadded.input}
    one = unpadded(inputs)["sequence"].numpy()
    two = unpadded({**inputs, **other})["sequence"].numpy()
    np.testing.assert_array_equal(one, two)
    assert not one[~is_token].any() and one[is_token].any(axis=-1).all()


def test_dense_layers_see_tokens_alone(tiny_config, batch, monkeypatch):
    model = _model(tiny_config, "encoder")
    seen = []
    block = type(model.get_layer("block_0"))
    product = block._product

    def record(self, x, y):
        seen.append(tuple(x.shape))
        return product(self, x, y)

    monkeypatch.setattr(block, "_product", record)
    models.without_padding(model)({k: batch[k] for k in model.input})
    count = int((batch["padding_mask"] != 0).sum())
    dense = {shape for shape in seen if len(shape) == 2}
    assert {rows for rows, _ in dense} == {count} and count < 24


def test_it_follows_what_the_model_learns(tiny_config, batch):
    model = _model(tiny_config, "classification")
    unpadded = models.without_padding(model)
    inputs = _inputs(model, batch)
    before = unpadded(inputs)["logits"].numpy()
    kernel = model.get_layer("block_1").inner_kernel
    kernel.assign(kernel * 1.5)
    after = unpadded(inputs)["logits"].numpy()
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, model(inputs)["logits"], atol=2e-6)


def test_packed_rows_stay_as_they_are(tiny_config, batch):
    model = models.build_encoder(
        dataclasses.replace(tiny_config, initializer_range=0.5), packed=True
    )
    mask = np.where(batch["padding_mask"] != 0, 1 + batch["segment_ids"], 0)
    inputs = {k: batch[k] for k in model.input} | {"padding_mask": mask}
    got = models.without_padding(model)(inputs)["sequence"]
    np.testing.assert_array_equal(got, model(inputs)["sequence"])


@pytest.mark.parametrize("task", SPECS)
def test_the_encoder_of_a_model(task, tiny_config, batch):
    model = _model(tiny_config, task)
    encoder = models.encoder_of(model)
    built = models.build_encoder(tiny_config)
    for layer in built.layers:
        if layer.weights and layer.name in {x.name for x in encoder.layers}:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    inputs = {name: batch[name] for name in encoder.input}
    got = encoder(inputs)["sequence"].numpy()
    np.testing.assert_allclose(got, built(inputs)["sequence"], atol=1e-6)
    assert got.shape == (3, 8, 16)
