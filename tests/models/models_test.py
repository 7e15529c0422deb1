# SPDX-License-Identifier: Apache-2.0
"""The models against PyTorch's, and what each input does to the output."""

import dataclasses

import numpy as np
import pytest

from kbert import features, models, tasks
from kbert.tasks.classification.head import build_classifier


@pytest.fixture
def pretrainer(tiny_config):
    # Weights large enough for each input to move the output.
    config = dataclasses.replace(tiny_config, initializer_range=0.5)
    return models.build_pretrainer(config)


def _peer(config, torch, transformers):
    names = transformers.BertConfig(
        **{
            name: getattr(config, name)
            for name in ("vocab_size", "hidden_size", "intermediate_size")
            + ("num_hidden_layers", "num_attention_heads")
            + ("max_position_embeddings", "initializer_range")
        },
        hidden_act="gelu_new",
    )
    torch.manual_seed(5)
    peer = transformers.BertForPreTraining(names).eval()
    for parameter in peer.parameters():  # neither zeros nor ones
        parameter.data += 0.2 * torch.randn_like(parameter)
    return peer


def _weights(peer):
    """Name of a layer of ours -> its weights, out of PyTorch's state."""
    state = {k: v.numpy() for k, v in peer.state_dict().items()}

    def dense(name):
        return [state[f"{name}.weight"].T, state[f"{name}.bias"]]

    def norm(name):
        return [state[f"{name}.LayerNorm.weight"]] + [
            state[f"{name}.LayerNorm.bias"]
        ]

    table = "bert.embeddings.{}_embeddings.weight".format
    head = "cls.predictions"
    weights = {
        "token_embedding": [state[table("word")]],
        "embeddings": [state[table("token_type")], state[table("position")]]
        + norm("bert.embeddings"),
        "pooler": dense("bert.pooler.dense"),
        "nsp": dense("cls.seq_relationship"),
        "mlm_transform": dense(f"{head}.transform.dense")
        + norm(f"{head}.transform"),
        "mlm_bias": [state[f"{head}.bias"]],
    }
    for index in range(2):
        block = f"bert.encoder.layer.{index}"
        parts = [
            dense(f"{block}.attention.self.{part}")
            for part in ("query", "key", "value")
        ]
        weights[f"block_{index}"] = [
            np.concatenate([kernel for kernel, _ in parts], axis=1),
            np.concatenate([bias for _, bias in parts]),
            *dense(f"{block}.attention.output.dense"),
            *dense(f"{block}.intermediate.dense"),
            *dense(f"{block}.output.dense"),
            *norm(f"{block}.attention.output"),
            *norm(f"{block}.output"),
        ]
    return weights


def test_pretrainer_equals_bert_for_pretraining(pretrainer, tiny_config, batch):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    peer = _peer(tiny_config, torch, transformers)
    for name, weights in _weights(peer).items():
        pretrainer.get_layer(name).set_weights(weights)
    tensors = {k: torch.from_numpy(v).long() for k, v in batch.items()}
    with torch.no_grad():
        want = peer(
            input_ids=tensors["token_ids"],
            token_type_ids=tensors["segment_ids"],
            attention_mask=tensors["padding_mask"],
        )
    rows = np.arange(3)[:, None]
    want_mlm = want.prediction_logits.numpy()[rows, batch["mask_positions"]]
    want_nsp = want.seq_relationship_logits.numpy()
    got = {k: v.numpy() for k, v in pretrainer(batch).items()}
    for name, value in {"mlm_logits": want_mlm, "nsp_logits": want_nsp}.items():
        error = np.abs(got[name] - value).max() / np.abs(value).max()
        assert error < 1e-5, name


def test_the_output_matrix_is_the_token_table(pretrainer, batch):
    tokens = pretrainer.get_layer("token_embedding")
    before = pretrainer(batch)["mlm_logits"].numpy()
    table = tokens.get_weights()[0]
    table[14] *= -2.0  # a token that stands in row 1 alone
    tokens.set_weights([table])
    change = np.abs(pretrainer(batch)["mlm_logits"].numpy() - before)
    assert change[0, :, 14].min() > 1e-3  # as output, in a row without it
    assert change[0, :, :14].max() == 0


@pytest.mark.parametrize("output", ["mlm_logits", "nsp_logits"])
def test_one_output_is_that_of_both(pretrainer, tiny_config, batch, output):
    one = models.build_pretrainer(tiny_config, [output])
    for layer in one.layers:
        layer.set_weights(pretrainer.get_layer(layer.name).get_weights())
    assert ("mask_positions" in one.input) == (output == "mlm_logits")
    got = one({name: batch[name] for name in one.input})
    assert set(got) == {output}
    want = pretrainer(batch)[output]
    np.testing.assert_allclose(got[output], want, atol=1e-5)
    layers = {layer.name for layer in one.layers}
    assert ("pooler" in layers) == (output == "nsp_logits")


@pytest.mark.parametrize("outputs", [[], ["logits"]])
def test_outputs_that_a_pretrainer_has_not(tiny_config, outputs):
    with pytest.raises(ValueError, match="outputs are .*; needs one or both"):
        models.build_pretrainer(tiny_config, outputs)


@pytest.mark.parametrize("name", ["token_ids", "segment_ids", "padding_mask"])
def test_every_input_reaches_the_output(pretrainer, batch, name):
    changed = batch[name].copy()
    changed[0, 3] = 0 if changed[0, 3] else 1
    before = pretrainer(batch)
    after = pretrainer({**batch, name: changed})
    for output in ("mlm_logits", "nsp_logits"):
        change = np.abs(after[output].numpy() - before[output].numpy())
        assert change[0].max() > 1e-3, output
        assert change[1:].max() == 0, output


def test_padding_is_not_seen(pretrainer, batch):
    changed = batch["token_ids"].copy()
    changed[batch["padding_mask"] == 0] = 9
    before = pretrainer(batch)["nsp_logits"].numpy()
    after = pretrainer({**batch, "token_ids": changed})["nsp_logits"].numpy()
    np.testing.assert_array_equal(after, before)


def test_the_classifier_has_a_logit_a_class(tiny_config, batch):
    model = build_classifier(tiny_config, num_classes=3)
    inputs = {name: batch[name] for name in features.ENCODER_INPUTS}
    assert model(inputs)["logits"].shape == (3, 3)
    with pytest.raises(ValueError, match="num_classes is 1"):
        build_classifier(tiny_config, num_classes=1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "parsing"}, "task is 'parsing'; needs one of"),
        ({"max_seq_length": 2}, "max_seq_length is 2"),
        ({"num_texts": 3}, "num_texts is 3; needs 1 <= x <= 2"),
        ({"labels": ("a",)}, "two or more"),
        ({"labels": ("a", "a")}, "repeat a name"),
    ],
)
def test_a_wrong_task_is_named(fields, message):
    right = {"task": "classification", "max_seq_length": 8}
    with pytest.raises(ValueError, match=message):
        tasks.TaskSpec(**{**right, "labels": ("a", "b"), **fields})


@pytest.mark.parametrize("position_embedding", ["learned", "sinusoidal"])
def test_the_config_knows_the_encoders_size(position_embedding, tiny_config):
    config = dataclasses.replace(
        tiny_config, position_embedding=position_embedding
    )
    encoder = models.build_encoder(config)
    pooler = encoder.get_layer("pooler").count_params()
    assert config.num_encoder_weights == encoder.count_params() - pooler
