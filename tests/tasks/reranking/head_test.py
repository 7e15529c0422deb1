# SPDX-License-Identifier: Apache-2.0
"""One score a candidate: the model, its losses, its settings."""

import keras
import numpy as np
import pytest

from kbert.tasks import TaskSpec
from kbert.tasks.regression.head import build_regressor
from kbert.tasks.reranking import head

_RNG = np.random.default_rng(4)
LOGITS = np.float32([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])


@pytest.fixture
def candidates(batch):
    """One row of three candidates, of the fixture's three rows."""
    names = ("token_ids", "segment_ids", "padding_mask")
    return {name: batch[name][None] for name in names}


def _model(config):
    model = head.build_reranker(config)
    for variable in model.weights:
        variable.assign(variable + 0.3 * _RNG.normal(size=variable.shape))
    return model


def test_each_candidate_is_scored_alone(tiny_config, candidates):
    """Whatever their number: as the regression of each pair."""
    model = _model(tiny_config)
    alone = build_regressor(tiny_config)
    alone.set_weights(model.get_weights())
    want = alone({k: v[0] for k, v in candidates.items()})["value"].numpy()
    assert np.ptp(want) > 0.02
    for order in ([0, 1, 2], [2, 0], [1], [1, 2, 0, 1]):
        rows = {k: v[:, order] for k, v in candidates.items()}
        logits = model(rows)["logits"].numpy()
        np.testing.assert_allclose(logits, [want[order]], atol=1e-5)


def test_saved_reloaded_and_in_mixed_precision(
    tiny_config, candidates, tmp_path
):
    model = _model(tiny_config)
    want = model(candidates)["logits"].numpy()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(candidates)["logits"], want)
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = head.build_reranker(tiny_config)
    mixed.set_weights(model.get_weights())
    got = mixed(candidates)["logits"]
    assert got.dtype == "float32"
    np.testing.assert_allclose(got, want, atol=0.05 * np.abs(want).max())


def _loss(name, labels, logits=LOGITS, weights=None):
    loss = head.losses(name)["logits"]
    return float(loss(np.float32(labels), np.float32(logits), weights))


def test_the_losses_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    labels = np.float32([[1, 0, 0.3], [0, 1, 0.9]])
    want = functional.binary_cross_entropy_with_logits(
        torch.tensor(LOGITS), torch.tensor(labels)
    )
    assert _loss("binary_crossentropy", labels) == pytest.approx(float(want))
    want = functional.cross_entropy(torch.tensor(LOGITS), torch.tensor([0, 1]))
    assert _loss("list", np.eye(3)[:2]) == pytest.approx(float(want))
    margins = [[2.0], [-1.0]]  # of the logits 3 and -3
    found = _loss("margin_mse", margins, LOGITS[:, :2])
    assert found == pytest.approx(((3 - 2) ** 2 + (-3 + 1) ** 2) / 2)


def test_high_logits_have_finite_losses():
    logits = [[200.0, -200.0, 0.0]]
    labels = [[0, 1, 0]]
    found = _loss("binary_crossentropy", labels, logits)
    assert found == pytest.approx((200 + 200 + np.log(2)) / 3)
    assert _loss("list", labels, logits) == pytest.approx(400)


def test_nothing_is_learnt_from_a_list_of_one():
    assert _loss("list", [[1]], [[0.7]]) == 0
    assert _loss("list", [[0, 0]], [[0.7, 0.2]]) == 0
    assert _loss("margin_mse", [[1]], [[0.7]]) == 0


@pytest.mark.parametrize("name", ["binary_crossentropy", "list", "margin_mse"])
def test_rows_have_weights(name):
    labels = [[1, 0], [0, 1]] if name != "margin_mse" else [[1], [0]]
    logits = LOGITS[:, :2]
    first, second = (
        _loss(name, labels[i : i + 1], logits[i : i + 1]) for i in (0, 1)
    )
    found = _loss(name, labels, logits, np.float32([0.5, 2]))
    assert found == pytest.approx((0.5 * first + 2 * second) / 2)


def test_scores_of_logits():
    got = head.decode(np.float32([0, 2]), "sigmoid")
    np.testing.assert_allclose(got, [0.5, 1 / (1 + np.exp(-2))], rtol=1e-6)
    np.testing.assert_array_equal(head.decode(LOGITS, "none"), LOGITS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "tanh"}, "activation is 'tanh'; needs one of sigmoid,"),
        ({"loss": "cosent"}, "loss is 'cosent'; needs one of binary_crossentr"),
        ({"loss": None}, "loss is null; needs a string"),
    ],
)
def test_unknown_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TaskSpec(task="reranking", max_seq_length=8, settings=settings)
