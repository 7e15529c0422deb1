# SPDX-License-Identifier: Apache-2.0
"""One score a choice: the model, its settings and scores."""

import keras
import numpy as np
import pytest

from kbert.tasks import TaskSpec
from kbert.tasks.multiple_choice import head, metrics
from kbert.tasks.regression.head import build_regressor


@pytest.fixture
def choices(batch):
    """One row of three choices, of the fixture's three rows."""
    names = ("token_ids", "segment_ids", "padding_mask")
    return {name: batch[name][None] for name in names}


def _model(config, num_choices=3):
    model = head.build_multiple_choice(config, num_choices)
    rng = np.random.default_rng(4)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return model


def test_each_choice_is_scored_alone(tiny_config, choices):
    model = _model(tiny_config)
    logits = model(choices)["logits"].numpy()
    assert logits.shape == (1, 3) and np.ptp(logits) > 0.02
    # Two rows, the second with its choices in another order.
    order = [2, 0, 1]
    both = {k: np.concatenate([v, v[:, order]]) for k, v in choices.items()}
    got = model(both)["logits"].numpy()
    want = np.concatenate([logits, logits[:, order]])
    np.testing.assert_allclose(got, want, atol=1e-5)
    # It is the regression of each pair.
    alone = build_regressor(tiny_config)
    alone.set_weights(model.get_weights())
    value = alone({k: v[0] for k, v in choices.items()})["value"].numpy()
    np.testing.assert_allclose(logits[0], value, atol=1e-5)


def test_saved_reloaded_and_in_mixed_precision(tiny_config, choices, tmp_path):
    model = _model(tiny_config)
    want = model(choices)["logits"].numpy()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(choices)["logits"], want)
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = head.build_multiple_choice(tiny_config, 3)
    mixed.set_weights(model.get_weights())
    got = mixed(choices)["logits"]
    assert got.dtype == "float32"
    np.testing.assert_allclose(got, want, atol=0.05 * np.abs(want).max())


def test_accuracy():
    got = metrics.scores([0, 3, 2, 1], [0, 3, 1, 2])
    assert got == {"accuracy": 0.5}


@pytest.mark.parametrize("settings", [{"num_choices": 1}, {"num_choices": 2.0}])
def test_too_few_choices(settings, tiny_config):
    with pytest.raises(ValueError, match=r"num_choices is .*; needs"):
        TaskSpec(task="multiple_choice", max_seq_length=8, settings=settings)
    with pytest.raises(ValueError, match="num_choices is 1; needs 2"):
        head.build_multiple_choice(tiny_config, 1)
