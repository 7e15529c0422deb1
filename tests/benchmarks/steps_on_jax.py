# SPDX-License-Identifier: Apache-2.0
"""A process with Keras on JAX, for pretrain_step_jax_test.py.

Takes a file with weights and a batch, the fields of a BertConfig and a number
of steps; prints what it measured as JSON.
"""

import dataclasses
import json
import math
import sys

import jax
import numpy as np
from jax.extend import core

from benchmarks.peers import kbert_jax
from benchmarks.pretrain_batches import Work, make_batches
from benchmarks.pretrain_step_jax import model_flops
from kbert.config import BertConfig
from kbert.layers import rematerialize
from kbert.models import build_pretrainer
from kbert.training import optimizer

OPTIMIZERS = {"AdamW": optimizer.AdamW, "Lamb": optimizer.Lamb}


def main(path, fields, steps):
    config = BertConfig(**json.loads(fields))
    store = dict(np.load(path))
    batch = tuple(_named(store, kind) for kind in ("inputs", "labels", "mean"))
    results = {}
    for name in OPTIMIZERS:
        _, step, (weights, *rest) = _begin(config, name, int(steps))
        state = ([store[f"w{i}"] for i in range(len(weights))], *rest)
        results[name] = _losses(step, state, batch, int(steps))
    results["flops"] = _flops(config)
    results["plain"] = _dropped(config, batch, remat=False)
    results["remat"] = _dropped(config, batch, remat=True)
    print(json.dumps(results))


def _named(store, kind):
    return {
        name.removeprefix(f"{kind}/"): array
        for name, array in store.items()
        if name.startswith(f"{kind}/")
    }


def _begin(config, name, steps):
    model = build_pretrainer(config)
    schedule = optimizer.WarmupDecay(3e-3, 2, steps, "cosine")
    own = OPTIMIZERS[name](schedule, global_clipnorm=1.0)
    state = kbert_jax.initial_state(model, own)
    return model, kbert_jax.make_step(model, own), state


def _losses(step, state, batch, steps):
    losses = []
    for _ in range(steps):
        state, loss = step(state, batch)
        losses.append(float(loss))
    return losses


def _dropped(config, batch, *, remat):
    """Losses under dropout, and the bytes kept from forward to backward."""
    config = dataclasses.replace(config, hidden_dropout_prob=0.5)
    model, step, (weights, seeds, slots) = _begin(config, "AdamW", 20)
    if remat:
        rematerialize(model)
    rng = np.random.default_rng(0)
    weights = [0.1 * rng.normal(size=w.shape).astype("f") for w in weights]
    seeds = [np.array([7, i], "uint32") for i in range(len(seeds))]

    def outputs(weights):
        many = {k: np.concatenate([v] * 100) for k, v in batch[0].items()}
        return model.stateless_call(weights, seeds, many, training=True)[0]

    kept = jax.eval_shape(lambda w: jax.vjp(outputs, w)[1], weights)
    return {
        "bytes": sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept)),
        "losses": _losses(step, (weights, seeds, slots), batch, 3),
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
