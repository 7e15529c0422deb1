# SPDX-License-Identifier: Apache-2.0
"""Features are PyTorch's hidden states; a model on them learns alone."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from kbert import features, models, tasks
from kbert.checkpoints import folder

INPUTS = features.ENCODER_INPUTS


def _encoder(config, seed=4):
    """With weights that are neither 0 nor 1."""
    model = models.build_encoder(config)
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return model


def _features(config, source, layers):
    model = models.build_features(config, layers)
    fresh = folder.copy_weights(source, model, fewer_blocks=True)
    assert fresh == (["layer_mix"] if layers == "mix" else [])
    return model


def _call(model, batch):
    return np.asarray(model({name: batch[name] for name in INPUTS})["sequence"])


def test_layers_are_hugging_faces_hidden_states(batch, vocabulary, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from kbert.checkpoints import huggingface

    torch.manual_seed(3)
    peer = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=12,
        )
    ).eval()
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    peer.save_pretrained(tmp_path)
    vocabulary.save(tmp_path)
    loaded = huggingface.load(
        tmp_path, lower_case=True, report=lambda line: None
    )
    with torch.no_grad():
        states = peer(
            input_ids=torch.tensor(batch["token_ids"]),
            token_type_ids=torch.tensor(batch["segment_ids"]),
            attention_mask=torch.tensor(batch["padding_mask"]),
            output_hidden_states=True,
        ).hidden_states
    states = np.stack([state.numpy() for state in states])  # (4, B, S, H)
    real = batch["padding_mask"].astype(bool)
    cases = {
        1: states[1],
        (0, 1, -2, 3, -4): np.concatenate(states[[0, 1, 2, 3, 0]], axis=-1),
        "mix": states.mean(0),
    }
    for layers, want in cases.items():
        got = _call(_features(loaded.config, loaded.model, layers), batch)
        error = np.abs(got[real] - want[real]).max() / np.abs(want[real]).max()
        assert error < 1e-5, layers


def test_the_mix_is_a_weighted_mean_times_gamma(tiny_config, batch):
    source = _encoder(tiny_config)
    each = [_call(_features(tiny_config, source, i), batch) for i in range(3)]
    model = _features(tiny_config, source, "mix")
    mix = model.get_layer("layer_mix")
    mix.layer_weights.assign(np.log([1.0, 2.0, 5.0]))
    mix.gamma.assign(-3.0)
    want = -3 * (each[0] + 2 * each[1] + 5 * each[2]) / 8
    np.testing.assert_allclose(_call(model, batch), want, atol=2e-5)


def test_a_layer_costs_only_what_is_below_it(tiny_config):
    names = {x.name for x in models.build_features(tiny_config, 1).layers}
    assert "block_0" in names
    assert not names & {"block_1", "pooler"}
    with pytest.raises(ValueError, match="layer block_1 has .*; needs none"):
        folder.copy_weights(
            _encoder(tiny_config), models.build_features(tiny_config, 1)
        )


@pytest.mark.slow
def test_a_model_on_features_learns_and_they_stay(tiny_config):
    # Dropout as large as can be: features have none.
    config = dataclasses.replace(tiny_config, hidden_dropout_prob=0.9)
    frozen = _features(config, _encoder(config), "mix")
    hidden = frozen.output["sequence"]
    wide = keras.layers.Dense(32, activation="tanh")(hidden[:, 0])
    logits = keras.layers.Dense(3)(wide)
    model = keras.Model(frozen.input, logits)
    model.compile(
        keras.optimizers.Adam(0.02),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    rng = np.random.default_rng(1)
    inputs = {
        "token_ids": rng.integers(0, 15, (24, 6)),
        "segment_ids": np.zeros((24, 6), "int32"),
        "padding_mask": np.ones((24, 6), "int32"),
    }
    before = {v.path: v.numpy() for v in frozen.weights}
    labels = rng.integers(0, 3, 24)
    model.fit(inputs, labels, epochs=20, batch_size=12, verbose=0)
    assert (np.argmax(model(inputs), axis=1) == labels).all()
    changed = {
        v.path
        for v in frozen.weights
        if not np.array_equal(v.numpy(), before[v.path])
    }
    assert changed == {"layer_mix/layer_weights", "layer_mix/gamma"}


def test_any_trained_model_gives_features(tiny_config, batch):
    source = _encoder(tiny_config)
    want = _call(_features(tiny_config, source, -1), batch)
    for task in ("encoder", "pretraining", "masked_lm", "classification"):
        labels = ("a", "b") if task == "classification" else ()
        spec = tasks.TaskSpec(task=task, max_seq_length=9, labels=labels)
        model = tasks.build(tiny_config, spec)
        kept = folder.copy_weights(source, model)
        assert "block_1" not in kept
        got = _call(_features(tiny_config, model, -1), batch)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("layers", [3, -4, [], [0, 3], "top"])
def test_layers_that_there_are_not(tiny_config, layers):
    with pytest.raises(ValueError, match="needs numbers from -3 to 2, 0 for"):
        models.build_features(tiny_config, layers)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", models.POOLINGS)
def test_pooling_as_in_pytorch(pooling, normalize):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(4, 5, 8)).astype("float32") - 2  # max below 0
    mask = np.arange(5) < np.array([[5], [3], [2], [1]])
    x, m = torch.tensor(rows), torch.tensor(mask)[..., None]
    want = {
        "cls": x[:, 0],
        # sentence-transformers' mean: all tokens of the attention mask
        "mean": (x * m).sum(1) / m.sum(1).clamp(min=1e-9),
        "max": x.masked_fill(~m, -1e9).max(1).values,
        "mean_sqrt_len_tokens": (x * m).sum(1) / m.sum(1).sqrt(),
    }[pooling]
    if normalize:
        want = torch.nn.functional.normalize(want, p=2, dim=1)
    got = models.pool(rows, mask.astype("int32"), pooling, normalize)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_pooling_of_nothing_is_finite():
    rows, mask = np.zeros((1, 2, 3), "float32"), np.zeros((1, 2), "int32")
    for pooling in models.POOLINGS:
        got = ops.convert_to_numpy(models.pool(rows, mask, pooling, True))
        assert np.isfinite(got).all(), pooling
    with pytest.raises(ValueError, match="pooling is 'sum'; needs one of"):
        models.pool(rows, mask, "sum")
