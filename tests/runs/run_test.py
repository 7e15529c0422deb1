# SPDX-License-Identifier: Apache-2.0
"""What a run's options make of the weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.runs import run
from kbert.tasks import classification


def _options(output_dir, **changes):
    options = {
        "output_dir": str(output_dir),
        "batch_size": 4,
        "optimizer": "adamw",
        "learning_rate": 0.1,
        "schedule": "constant",
        "warmup_share": 0.0,
        "layer_decay": 1.0,
        "ema_decay": None,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "dropout": None,
        "dtype": "float32",
        "remat": False,
        "xla": False,
        "seed": 0,
        "log_every": 10,
        "save_every": 10,
        "settings": "",
    }
    return run.RunOptions(**{**options, **changes})


def _trained(options, steps):
    """The weights of one matrix after so many steps."""
    keras.utils.set_random_seed(1)
    inputs = {"x": keras.Input((3,), name="x")}
    logits = keras.layers.Dense(2, use_bias=False)(inputs["x"])
    model = keras.Model(inputs, {"logits": logits})
    rows = np.random.default_rng(2).normal(size=(4, 3)).astype("float32")
    batch = {"x": rows}, {"logits": np.array([0, 1, 1, 0])}
    run.train(
        model,
        lambda step: tf.data.Dataset.from_tensors(batch).repeat(),
        steps=steps,
        losses=classification.losses(),
        metrics=classification.metrics(),
        options=options,
    )
    return model.get_weights()[0]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_model_is_the_average_of_its_past_and_training_goes_on_from_both(
    tmp_path, dtype
):
    plain = [
        _trained(_options(tmp_path / str(steps), dtype=dtype), steps)
        for steps in (1, 2, 3)
    ]
    assert np.abs(plain[2] - plain[0]).max() > 0.1
    average = plain[0]
    for weights in plain[1:]:
        average = 0.75 * average + 0.25 * weights
    averaged = {"ema_decay": 0.75, "dtype": dtype}
    whole = _trained(_options(tmp_path / "whole", **averaged), 3)
    np.testing.assert_allclose(whole, average, atol=1e-6)
    _trained(_options(tmp_path / "cut", **averaged), 2)
    resumed = _trained(_options(tmp_path / "cut", **averaged), 3)
    np.testing.assert_array_equal(resumed, whole)


def test_options_reach_the_optimizer(tmp_path):
    changes = {"optimizer": "lamb", "schedule": "cosine", "warmup_share": 0.2}
    made = run.make_optimizer(
        _options(tmp_path, layer_decay=0.9, **changes), steps=10
    )
    config = made.get_config()
    assert type(made).__name__ == "Lamb"
    assert config["layer_decay"] == 0.9
    assert config["learning_rate"]["config"] == {
        "peak": 0.1,
        "warmup_steps": 2,
        "steps": 10,
        "decay": "cosine",
    }


def test_xla_is_refused_with_several_replicas(tmp_path, monkeypatch):
    two = tf.distribute.MirroredStrategy(tf.config.list_logical_devices("CPU"))
    monkeypatch.setattr(run.loop, "strategy", lambda: two)
    with pytest.raises(ValueError, match="^--xla: .* of one device; .* 2 GPUs"):
        run.begin(_options(tmp_path, xla=True))
