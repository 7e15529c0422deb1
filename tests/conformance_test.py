# SPDX-License-Identifier: Apache-2.0
"""What every layer keeps: reload, mixed precision, XLA, unknown shapes."""

import inspect
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert import features, layers
from kbert.tasks.multiple_choice.head import build_multiple_choice

_RNG = np.random.default_rng(7)
_ROWS = _RNG.normal(size=(2, 5, 8)).astype("float32")
_SEGMENTS = np.array([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]], "int32")
_MASK = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], bool)[:, None, None]

# Arguments of each layer, and what it is called with: tensors, or lists.
CASES = {
    layers.AddBias: ({}, [_ROWS]),
    layers.Embeddings: (
        {
            "max_position_embeddings": 6,
            "type_vocab_size": 2,
            "position_embedding": "learned",
            "layer_norm_epsilon": 1e-12,
            "dropout": 0.1,
            "initializer_range": 0.2,
        },
        [_ROWS, _SEGMENTS],
    ),
    layers.EncoderBlock: (
        {
            "num_heads": 2,
            "intermediate_size": 12,
            "hidden_act": "gelu",
            "layer_norm_epsilon": 1e-12,
            "dropout": 0.1,
            "attention_dropout": 0.1,
            "initializer_range": 0.2,
        },
        [_ROWS, _MASK],
    ),
    layers.FoldChoices: ({}, [_ROWS]),
    layers.JoinWindows: ({"how": "mean"}, [_ROWS, np.abs(_ROWS) + 1]),
    layers.LayerMix: ({}, [[_ROWS, np.sin(_ROWS), _ROWS[::-1]]]),
    layers.LayerNorm: ({"epsilon": 1e-12}, [_ROWS]),
    layers.MlmTransform: (
        {
            "hidden_act": "gelu_erf",
            "layer_norm_epsilon": 1e-12,
            "initializer_range": 0.2,
        },
        [_ROWS],
    ),
    layers.UnfoldChoices: ({}, [_ROWS, _ROWS[:1, :2]]),
}
each_layer = pytest.mark.parametrize("layer", CASES, ids=lambda c: c.__name__)


def _all_layers():
    return {
        member
        for _, member in inspect.getmembers(layers, inspect.isclass)
        if issubclass(member, keras.layers.Layer)
    }


def _model(layer, **kwargs):
    """The layer in a functional model with no axis known but the width."""
    arguments, values = CASES[layer]
    shapes = {"float32": (None, 8), "int32": (None,), "bool": (1, 1, None)}
    inputs = keras.tree.map_structure(
        lambda x: keras.Input(shapes[x.dtype.name], dtype=x.dtype.name), values
    )
    made = layer(**arguments, **kwargs)
    outputs = made(*inputs)
    model = keras.Model(inputs, outputs)
    for variable in model.trainable_variables:  # no zeros, no ones
        noise = _RNG.normal(scale=0.1, size=variable.shape)
        variable.assign_add(noise.astype("float32"))
    return model, values


def _call(model, values, **kwargs):
    return np.asarray(model(values, **kwargs), "float32")


def test_every_layer_has_a_case():
    assert set(CASES) == _all_layers()


@each_layer
def test_a_saved_model_reloads_equal(layer, tmp_path):
    model, values = _model(layer)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(_call(again, values), _call(model, values))


@each_layer
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_stays_near_float32(layer, policy):
    exact, values = _model(layer)
    mixed, _ = _model(layer, dtype=policy)
    mixed.set_weights(exact.get_weights())
    assert all(v.dtype == "float32" for v in mixed.variables[:1])
    want, got = _call(exact, values), _call(mixed, values)
    assert np.abs(got - want).max() <= 0.03 * np.abs(want).max()


@each_layer
def test_xla_gives_the_same(layer):
    model, values = _model(layer)
    values = keras.tree.map_structure(tf.constant, values)
    compiled = tf.function(lambda *v: model(list(v)), jit_compile=True)
    np.testing.assert_allclose(
        compiled(*values).numpy(), _call(model, values), atol=2e-6
    )


@each_layer
def test_every_weight_is_trained(layer):
    model, values = _model(layer)
    with tf.GradientTape() as tape:
        output = model(keras.tree.map_structure(tf.constant, values))
        loss = tf.reduce_sum(tf.sin(3 * output))
    variables = [v.value for v in model.trainable_variables]
    for variable, gradient in zip(
        variables, tape.gradient(loss, variables), strict=True
    ):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.name


_ON_JAX = """
import sys
sys.modules["tensorflow"] = None  # any import of it fails
import numpy as np
import keras
assert keras.backend.backend() == "jax"
from kbert import models
from kbert.tasks.multiple_choice.head import build_multiple_choice
from kbert.tasks.reranking.head import build_reranker
from kbert.config import BertConfig
from kbert.training import losses, optimizer
store = np.load(sys.argv[1])
config = BertConfig(
    vocab_size=15, lower_case=True, hidden_size=16, num_hidden_layers=2,
    num_attention_heads=2, intermediate_size=32, max_position_embeddings=24,
)
names = ("token_ids", "segment_ids", "padding_mask", "mask_positions")
found = {}
for packed in (False, True):
    model = models.build_pretrainer(config, packed=packed)
    model.set_weights([store[f"w{i}"] for i in range(len(model.weights))])
    outputs = model({name: store[name] for name in names})
    found |= {f"{k} {packed}": np.asarray(v) for k, v in outputs.items()}
choice = build_multiple_choice(config, 3)
choice.set_weights([store[f"c{i}"] for i in range(len(choice.weights))])
outputs = choice({name: store[name][None] for name in names[:3]})
found["choice"] = np.asarray(outputs["logits"])
reranker = build_reranker(config)
reranker.set_weights(choice.get_weights())
found["reranker"] = np.asarray(
    reranker({name: store[name][None] for name in names[:3]})["logits"]
)
np.savez(sys.argv[2], **found)
"""


@pytest.mark.slow
def test_jax_gives_the_same_without_tensorflow(tiny_config, batch, tmp_path):
    pytest.importorskip("jax")
    from kbert.models import build_pretrainer

    batch["padding_mask"][0, 4:] = 2  # a second text, where rows are packed
    model = build_pretrainer(tiny_config)
    peer = build_pretrainer(tiny_config, packed=True)
    peer.set_weights(model.get_weights())
    weights = {f"w{i}": w for i, w in enumerate(model.get_weights())}
    choice = build_multiple_choice(tiny_config, 3)
    weights |= {f"c{i}": w for i, w in enumerate(choice.get_weights())}
    np.savez(tmp_path / "in.npz", **weights, **batch)
    subprocess.run(
        [sys.executable, "-c", _ON_JAX, tmp_path / "in.npz"]
        + [tmp_path / "out.npz"],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        check=True,
    )
    got = np.load(tmp_path / "out.npz")
    names = features.ENCODER_INPUTS
    logits = choice({name: batch[name][None] for name in names})["logits"]
    np.testing.assert_allclose(got["choice"], logits, atol=2e-5)
    np.testing.assert_allclose(got["reranker"], logits, atol=2e-5)
    for one, packed in ((model, False), (peer, True)):
        for name, value in one(batch).items():
            found = got[f"{name} {packed}"]
            np.testing.assert_allclose(found, value, atol=2e-5)
