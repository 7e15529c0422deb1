# SPDX-License-Identifier: Apache-2.0
"""AdamW step by step beside PyTorch's; the schedule at its corners."""

import keras
import numpy as np
import pytest

from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import AdamW, LinearWarmupDecay


@pytest.mark.parametrize("optimizer", [AdamW, FusedAdamW])
@pytest.mark.parametrize("scale", [1.0, 1e-6])  # epsilon is 1e-6
def test_steps_equal_those_of_pytorch(optimizer, scale):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    layer = keras.layers.Dense(3)
    layer.build((None, 5))
    layer.bias.assign([1.0, -1.0, 2.0])
    ours = optimizer(0.01, weight_decay=0.1)
    ours.build(layer.trainable_variables)
    theirs = [
        torch.nn.Parameter(torch.tensor(v.numpy()))
        for v in layer.trainable_variables
    ]
    groups = [
        {"params": theirs[:1], "weight_decay": 0.1},
        {"params": theirs[1:], "weight_decay": 0.0},
    ]
    peer = torch.optim.AdamW(groups, lr=0.01, eps=1e-6)
    for _ in range(5):
        gradients = [
            scale * rng.normal(size=v.shape).astype("float32") for v in theirs
        ]
        ours.apply([keras.ops.convert_to_tensor(g) for g in gradients])
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = torch.tensor(gradient)
        peer.step()
    for got, want in zip(layer.trainable_variables, theirs, strict=True):
        np.testing.assert_allclose(
            got.numpy(), want.detach().numpy(), atol=1e-6
        )


def test_biases_and_norms_of_a_model_do_not_decay(tiny_config):
    from kbert.models import build_pretrainer

    model = build_pretrainer(tiny_config)
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    optimizer = AdamW(0.1, weight_decay=0.5)
    zeros = [np.zeros(v.shape, "float32") for v in model.trainable_variables]
    optimizer.apply(
        [keras.ops.convert_to_tensor(z) for z in zeros],
        model.trainable_variables,
    )
    decayed = {v.path for v in model.trainable_variables if v.numpy().max() < 1}
    kept = {v.path for v in model.trainable_variables} - decayed
    assert all("kernel" in p or "embedding" in p for p in decayed)
    assert all(p.endswith(("bias", "gamma", "beta")) for p in kept)
    assert len(decayed) == 3 + 2 * 4 + 3 and len(kept) == 2 + 2 * 8 + 6


def test_the_rate_rises_and_falls_in_straight_lines():
    schedule = LinearWarmupDecay(peak=1.0, warmup_steps=4, steps=12)
    rates = [float(schedule(step)) for step in (0, 1, 3, 4, 8, 11, 12, 20)]
    want = [0.25, 0.5, 1.0, 1.0, 0.5, 0.125, 0.0, 0.0]
    np.testing.assert_allclose(rates, want)


def test_a_warmup_longer_than_the_run_is_an_error():
    with pytest.raises(ValueError, match="warmup_steps is 12; .* 12 steps"):
        LinearWarmupDecay(peak=1.0, warmup_steps=12, steps=12)
