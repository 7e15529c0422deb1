# SPDX-License-Identifier: Apache-2.0
"""The step on JAX, without TensorFlow, against the commands' on TensorFlow."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.models import build_pretrainer
from kbert.training import loop, losses
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import Lamb, WarmupDecay

pytestmark = pytest.mark.slow
HERE = pathlib.Path(__file__).parent
STEPS = 20
# Runs a script where jax, Keras and numpy are all that is installed.
ALONE = """
import runpy, sys
MISSING = {"tensorflow", "tensorflow_text", "tf_keras", "keras_hub", "torch",
           "transformers", "tokenizers", "safetensors"}
class Finder:
    def find_spec(name, path=None, target=None):
        if name in MISSING:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Finder)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_RNG = np.random.default_rng(6)
LAMB = {  # weights, and their gradients at three steps
    name: _RNG.normal(size=shape).astype("float32")
    for name, shape in {
        "kernel": (5, 3),
        "bias": (3,),
        "dkernel": (3, 5, 3),
        "dbias": (3, 3),
    }.items()
}
OPTIMIZERS = {"AdamW": FusedAdamW, "Lamb": Lamb}  # JAX's and TensorFlow's


@pytest.fixture(scope="module")
def still():
    """A tiny config without dropout; conftest's are made for each test."""
    from kbert.config import BertConfig

    return BertConfig(
        vocab_size=15,
        lower_case=True,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(3)
    tokens = rng.integers(5, 15, (4, 8)).astype("int32")
    inputs = {
        "token_ids": tokens,
        "segment_ids": (np.arange(8) > 4).astype("int32") + 0 * tokens,
        "padding_mask": (np.arange(8) < np.array([[8], [7], [8], [5]])) * 1,
        "mask_positions": np.array([[3, 6], [2, 4], [2, 1], [1, 0]], "int32"),
    }
    weights = np.array([[1, 1], [1, 1], [1, 1], [1, 0]], "float32")
    labels = {
        "mlm_logits": rng.integers(5, 15, (4, 2)).astype("int32"),
        "nsp_logits": np.array([1, 0, 1, 1], "int32"),
    }
    inputs["padding_mask"] = inputs["padding_mask"].astype("int32")
    return (
        inputs,
        labels,
        {"mlm_logits": weights * 8 / 7, "nsp_logits": np.ones(4, "float32")},
    )


def _model(config):
    keras.utils.set_random_seed(4)
    return build_pretrainer(config)


@pytest.fixture(scope="module")
def on_jax(still, examples, tmp_path_factory):
    pytest.importorskip("jax")
    weights = [v.numpy() for v in _model(still).trainable_variables]
    path = tmp_path_factory.mktemp("jax") / "in.npz"
    arrays = {f"w{i}": weight for i, weight in enumerate(weights)} | LAMB
    for kind, values in zip(
        ("inputs", "labels", "weights"), examples, strict=True
    ):
        arrays |= {f"{kind}/{name}": array for name, array in values.items()}
    np.savez(path, **arrays)
    fields = json.dumps(dataclasses.asdict(still))
    done = subprocess.run(
        [sys.executable, "-c", ALONE, HERE / "steps_on_jax.py"]
        + [path, fields, str(STEPS)],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # it compiles faster
            "PYTHONPATH": str(HERE.parents[1]),
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.slow
def test_twenty_steps_lose_what_they_lose_on_tensorflow(
    on_jax, still, examples
):
    schedule = WarmupDecay(3e-3, 2, STEPS, "cosine")
    trainer = loop.Trainer(
        _model(still),
        losses=losses.pretraining_losses(),
        metrics=losses.pretraining_metrics(),
        optimizer=FusedAdamW(schedule, layer_decay=0.9),
        clip_norm=1.0,
    )
    curve = []
    for batch in tf.data.Dataset.from_tensors(examples).repeat(STEPS):
        trainer.train_step(batch)
        scores = trainer.means.take()
        curve.append(scores["mlm_loss"] + scores["nsp_loss"])
    np.testing.assert_allclose(on_jax["losses"], curve, rtol=1e-5)
    assert curve[-1] < 0.8 * curve[0]


def test_lamb_and_averages_are_those_on_tensorflow(on_jax):
    layer = keras.layers.Dense(3)
    layer.build((None, 5))
    layer.set_weights([LAMB["kernel"], LAMB["bias"]])
    optimizer = Lamb(0.1, use_ema=True, ema_momentum=0.5)
    for gradients in zip(LAMB["dkernel"], LAMB["dbias"], strict=True):
        optimizer.apply(
            [tf.constant(g) for g in gradients], layer.trainable_variables
        )
    want = layer.get_weights()
    optimizer.finalize_variable_values(layer.trainable_variables)
    want += layer.get_weights()
    for got, array in zip(on_jax["lamb"], want, strict=True):
        np.testing.assert_allclose(got, array, rtol=1e-5, atol=1e-6)


def test_remat_on_jax_keeps_less_for_the_same_gradients(on_jax):
    plain, remat = on_jax["plain"], on_jax["remat"]
    np.testing.assert_allclose(
        remat["gradients"], plain["gradients"], rtol=1e-4, atol=1e-4
    )
    assert remat["bytes"] < 0.5 * plain["bytes"]


def test_the_operations_are_those_of_the_matrix_products(on_jax):
    """Forward once and backward twice."""
    assert on_jax["flops"]["model"] == 3 * on_jax["flops"]["forward"]
