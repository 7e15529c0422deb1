# SPDX-License-Identifier: Apache-2.0
"""A process with Keras on JAX, for pretrain_step_jax_test.py.

Takes a file of arrays, the fields of a BertConfig and a number of steps;
prints what it computed as JSON.
"""

import dataclasses
import json
import math
import sys

import jax
import keras
import numpy as np
from jax.extend import core

from benchmarks.peers import kbert_jax
from benchmarks.pretrain_batches import Work, make_batches
from benchmarks.pretrain_step_jax import model_flops
from kbert.config import BertConfig
from kbert.layers import EncoderBlock
from kbert.models import build_pretrainer
from kbert.training import optimizer


def main(path, fields, steps):
    config = BertConfig(**json.loads(fields))
    store = dict(np.load(path))
    results = {
        "losses": _losses(config, store, int(steps)),
        "lamb": _lamb(store),
        "flops": _flops(config),
        "plain": _block(remat=False),
        "remat": _block(remat=True),
    }
    print(json.dumps(results))


def _losses(config, store, steps):
    """Of training steps on one batch."""
    batch = tuple(
        {
            name.removeprefix(kind): array
            for name, array in store.items()
            if name.startswith(kind)
        }
        for kind in ("inputs/", "labels/", "weights/")
    )
    model = build_pretrainer(config)
    schedule = optimizer.WarmupDecay(3e-3, 2, steps, "cosine")
    own = optimizer.AdamW(schedule, global_clipnorm=1.0, layer_decay=0.9)
    _, *rest = kbert_jax.initial_state(model, own)
    count = len(model.trainable_variables)
    state = ([store[f"w{i}"] for i in range(count)], *rest)
    step = kbert_jax.make_step(model, own)
    losses = []
    for _ in range(steps):
        state, loss = step(state, batch)
        losses.append(float(loss))
    return losses


def _lamb(store):
    """A matrix and a bias, and their averages, after a few steps."""
    layer = keras.layers.Dense(3)
    layer.build((None, 5))
    own = optimizer.Lamb(0.1, use_ema=True, ema_momentum=0.5)
    own.build(layer.trainable_variables)
    state = [store["kernel"], store["bias"]], [v.value for v in own.variables]
    for gradients in zip(store["dkernel"], store["dbias"], strict=True):
        state = own.stateless_apply(state[1], gradients, state[0])
    for variable, value in zip(own.variables, state[1], strict=True):
        variable.assign(value)
    for variable, value in zip(layer.weights, state[0], strict=True):
        variable.assign(value)
    weights = layer.get_weights()
    own.finalize_variable_values(layer.trainable_variables)
    return [w.tolist() for w in [*weights, *layer.get_weights()]]


def _block(*, remat):
    """Gradients under dropout, and the bytes kept from forward to backward."""
    block = EncoderBlock(
        num_heads=2,
        intermediate_size=32,
        hidden_act="gelu",
        layer_norm_epsilon=1e-12,
        dropout=0.5,
        attention_dropout=0.0,
        initializer_range=0.02,
    )
    block.remat = remat
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8, 16, 16)).astype("float32")
    mask = np.ones((8, 1, 1, 16), bool)
    block.build(rows.shape, mask.shape)
    weights = [
        rng.normal(size=v.shape).astype("float32")
        for v in block.trainable_variables
    ]
    states = block.non_trainable_variables
    seeds = [np.array([7, i], "uint32") for i in range(len(states))]

    def loss(weights, rows):
        output, _ = block.stateless_call(
            weights, seeds, rows, mask, training=True
        )
        return (output**3).sum()

    kept = jax.eval_shape(lambda w, x: jax.vjp(loss, w, x)[1], weights, rows)
    gradients = jax.jit(jax.grad(loss, argnums=1))(weights, rows)
    return {
        "bytes": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept)),
        "gradients": np.asarray(gradients).tolist(),
    }


def _flops(config):
    work = Work(
        vocab_size=config.vocab_size,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        heads=config.num_attention_heads,
        batch=3,
        length=20,
        predictions=3,
    )
    model = build_pretrainer(
        dataclasses.replace(config, intermediate_size=4 * work.hidden_size)
    )
    inputs, _, _ = kbert_jax.example(make_batches(work, count=1, seed=1)[0])
    forward = _products(jax.make_jaxpr(model)(inputs).jaxpr)
    # Segments are looked up by a product with their two rows.
    forward -= 2 * work.batch * work.length * 2 * work.hidden_size
    return {"model": model_flops(work), "forward": forward}


def _products(jaxpr):
    """Multiplications and additions in the matrix products of a function."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            inner = math.prod(shape[axis] for axis in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        total += sum(map(_products, core.jaxprs_in_params(equation.params)))
    return total


if __name__ == "__main__":
    main(*sys.argv[1:])
