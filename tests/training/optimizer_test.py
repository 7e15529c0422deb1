# SPDX-License-Identifier: Apache-2.0
"""AdamW against PyTorch's, LAMB against Model Garden's; rates and averages."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.models import build_pretrainer
from kbert.tasks.classification.head import build_classifier
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.optimizer import AdamW, Lamb, WarmupDecay


def _layer():
    """A matrix (5, 3) and a bias (3,)."""
    layer = keras.layers.Dense(3)
    layer.build((None, 5))
    layer.bias.assign([1.0, -1.0, 2.0])
    return layer


def _gradients(seed, scale):
    rng = np.random.default_rng(seed)
    return [
        (scale * rng.normal(size=shape)).astype("float32")
        for shape in ((5, 3), (3,))
    ]


def _apply(optimizer, gradients, variables):
    tensors = [keras.ops.convert_to_tensor(g) for g in gradients]
    optimizer.apply(tensors, variables)


@pytest.mark.parametrize("optimizer", [AdamW, FusedAdamW])
@pytest.mark.parametrize("scale", [1.0, 1e-6])  # epsilon is 1e-6
def test_steps_equal_those_of_pytorch(optimizer, scale):
    torch = pytest.importorskip("torch")
    layer = _layer()
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
    for step in range(5):
        gradients = _gradients(step, scale)
        _apply(ours, gradients, layer.trainable_variables)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = torch.tensor(gradient)
        peer.step()
    for got, want in zip(layer.trainable_variables, theirs, strict=True):
        np.testing.assert_allclose(
            got.numpy(), want.detach().numpy(), atol=1e-6
        )


def test_decay_waits_for_the_gradient():
    """Else a copy of all variables is kept during the backward pass."""
    layer = _layer()
    optimizer = FusedAdamW(0.01)
    optimizer.build(layer.trainable_variables)

    @tf.function
    def step(*gradients):
        optimizer.apply(gradients, layer.trainable_variables)

    graph = step.get_concrete_function(*_gradients(0, 1.0)).graph
    assigned = [
        x.inputs[1].op
        for x in graph.get_operations()
        if x.type == "AssignVariableOp"  # of the matrix, and of the step
    ]
    (decay,) = (x for x in assigned if x.type == "Mul")
    assert graph.inputs[0].op in _before(decay)


def _before(op):
    """The ops that an op waits for."""
    found, left = set(), [op]
    while left:
        op = left.pop()
        for one in (*op.control_inputs, *(x.op for x in op.inputs)):
            if one not in found:
                found.add(one)
                left.append(one)
    return found


def _lamb_step(x, m, v, gradient, step, decay):
    """You et al. 2020, algorithm 2, for a matrix (`decay` not 0) or a bias."""
    m = 0.9 * m + 0.1 * gradient
    v = 0.999 * v + 0.001 * gradient**2
    r = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-6)
    r = r + decay * x
    ratio = np.linalg.norm(x) / np.linalg.norm(r) if decay else 1.0
    return x - 0.01 * ratio * r, m, v


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_lamb_follows_the_papers_formula(scale):
    layer = _layer()
    ours = Lamb(0.01, weight_decay=0.1)
    want = [
        (v.numpy().astype("float64"), 0.0, 0.0)
        for v in layer.trainable_variables
    ]
    for step in range(1, 6):
        gradients = _gradients(step, scale)
        _apply(ours, gradients, layer.trainable_variables)
        want = [
            _lamb_step(*state, gradient.astype("float64"), step, decay)
            for state, gradient, decay in zip(
                want, gradients, (0.1, 0.0), strict=True
            )
        ]
        for got, state in zip(layer.trainable_variables, want, strict=True):
            np.testing.assert_allclose(got.numpy(), state[0], atol=1e-6)


def test_lamb_steps_equal_those_of_model_garden():
    lamb = pytest.importorskip("official.modeling.optimization.lamb")
    layer = _layer()
    theirs = [
        tf.Variable(v.numpy(), name=v.name) for v in layer.trainable_variables
    ]
    ours = Lamb(0.01, weight_decay=0.1)
    peer = lamb.LAMB(
        0.01, weight_decay_rate=0.1, exclude_from_weight_decay=["bias"]
    )
    for step in range(5):
        gradients = _gradients(step, 1.0)
        _apply(ours, gradients, layer.trainable_variables)
        peer.apply_gradients(zip(gradients, theirs, strict=True))
    for got, want in zip(layer.trainable_variables, theirs, strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-6)


def test_lamb_moves_a_matrix_of_zeros():
    layer = _layer()
    layer.kernel.assign(np.zeros((5, 3)))
    _apply(Lamb(0.01), _gradients(0, 1.0), layer.trainable_variables)
    np.testing.assert_allclose(np.abs(layer.kernel.numpy()), 0.01, rtol=1e-3)


@pytest.mark.parametrize("optimizer", [AdamW, FusedAdamW, Lamb])
def test_rates_fall_from_the_heads_to_the_embeddings(tiny_config, optimizer):
    """Adam's first step has the length of the rate, LAMB's times the norm."""
    model = build_classifier(tiny_config, 3)
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    ours = optimizer(0.01, weight_decay=0.5, layer_decay=0.5)
    _apply(ours, [np.ones(v.shape, "float32") for v in variables], variables)
    depths = {"classifier": 0, "pooler": 0, "block_1": 1, "block_0": 2}
    depths |= {"embeddings": 3, "token_embedding": 3}
    for variable in variables:
        step = 0.01 * 0.5 ** depths[variable.path.split("/")[0]]
        is_matrix = not variable.path.endswith(("bias", "gamma", "beta"))
        if is_matrix and optimizer is not Lamb:
            step *= 1.5  # 1 from Adam and 0.5 of decay
        np.testing.assert_allclose(
            1 - variable.numpy(), step, rtol=1e-3, err_msg=variable.path
        )


def _moved(optimizer, strategy, initial_scale):
    """Weights and averages after three steps from the same start."""
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        layer = _layer()
        layer.kernel.assign(np.linspace(-1, 1, 15).reshape(5, 3))
        inner = optimizer(0.1, use_ema=True, ema_momentum=0.5)
        outer = keras.optimizers.LossScaleOptimizer(inner, initial_scale)
        outer.build(layer.trainable_variables)

        @tf.function
        def step(gradients):
            scale = outer.scale_loss(1 / replicas)  # `apply` sums them
            shares = [gradient * scale for gradient in gradients]
            strategy.run(outer.apply, (shares, layer.trainable_variables))

        for seed in range(3):
            step([tf.constant(g) for g in _gradients(seed, 1.0)])
        weights = layer.get_weights()
        outer.finalize_variable_values(layer.trainable_variables)
    return [*weights, *layer.get_weights()]


@pytest.mark.parametrize("optimizer", [AdamW, FusedAdamW, Lamb])
def test_replicas_and_a_scaled_loss_change_nothing(optimizer):
    devices = tf.config.list_logical_devices("CPU")
    assert len(devices) == 2, "conftest.py makes two"
    want = _moved(optimizer, tf.distribute.get_strategy(), 1.0)
    got = _moved(optimizer, tf.distribute.MirroredStrategy(devices), 8.0)
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_layer_decay_without_blocks_is_an_error():
    with pytest.raises(ValueError, match="block_<number>; got .*kernel"):
        AdamW(0.01, layer_decay=0.9).build(_layer().trainable_variables)


@pytest.mark.parametrize("optimizer", [AdamW, Lamb])
def test_a_saved_optimizer_comes_back(optimizer):
    schedule = WarmupDecay(0.1, 2, 8, decay="cosine")
    ours = optimizer(schedule, weight_decay=0.2, layer_decay=0.9)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(ours))
    assert type(copy) is optimizer
    assert copy.get_config() == ours.get_config()
    assert (copy.layer_decay, copy.weight_decay) == (0.9, 0.2)


def test_biases_and_norms_of_a_model_do_not_decay(tiny_config):
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


@pytest.mark.parametrize(
    ("decay", "want"),
    [
        ("linear", [1.0, 0.75, 0.5, 0.125, 0.0, 0.0]),
        ("cosine", [1.0, 0.853553, 0.5, 0.0380602, 0.0, 0.0]),
        ("constant", [1.0] * 6),
    ],
)
def test_the_rate_rises_and_falls(decay, want):
    schedule = WarmupDecay(peak=2.0, warmup_steps=4, steps=12, decay=decay)
    rates = [float(schedule(step)) for step in (0, 1, 3, 4, 6, 8, 11, 12, 20)]
    want = [0.5, 1.0, 2.0, *(2.0 * share for share in want)]
    np.testing.assert_allclose(rates, want, atol=1e-6)


def test_another_decay_is_an_error():
    with pytest.raises(ValueError, match="decay is 'step'; .*'cosine'"):
        WarmupDecay(peak=1.0, warmup_steps=0, steps=12, decay="step")


def test_a_warmup_longer_than_the_run_is_an_error():
    with pytest.raises(ValueError, match="warmup_steps is 12; .* 12 steps"):
        WarmupDecay(peak=1.0, warmup_steps=12, steps=12)
