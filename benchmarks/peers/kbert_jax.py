# SPDX-License-Identifier: Apache-2.0
"""kbert's model, losses and optimizer on JAX, in a separate compiled step.

It needs KERAS_BACKEND=jax, and no TensorFlow.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import keras
from jax import numpy as jnp

from benchmarks import peers
from benchmarks.peers import Steps
from benchmarks.pretrain_batches import Batch, Work
from kbert import features
from kbert.config import BertConfig
from kbert.layers import rematerialize
from kbert.models import build_pretrainer
from kbert.training import losses
from kbert.training.optimizer import AdamW

State = tuple[list[jax.Array], list[jax.Array], list[jax.Array]]


def make_steps(
    work: Work, batches: list[Batch], *, dtype: str, remat: bool
) -> Steps:
    """See `benchmarks.peers`; `remat` trades time for memory."""
    keras.config.set_dtype_policy(dtype)
    model = build_pretrainer(
        BertConfig(
            vocab_size=work.vocab_size,
            lower_case=True,
            hidden_size=work.hidden_size,
            num_hidden_layers=work.layers,
            num_attention_heads=work.heads,
            intermediate_size=4 * work.hidden_size,
            hidden_dropout_prob=peers.DROPOUT,
            attention_probs_dropout_prob=peers.DROPOUT,
            max_position_embeddings=work.max_positions,
        )
    )
    if remat:
        rematerialize(model)
    optimizer = AdamW(
        peers.LEARNING_RATE,
        weight_decay=peers.WEIGHT_DECAY,
        beta_1=peers.BETA_1,
        beta_2=peers.BETA_2,
        epsilon=peers.EPSILON,
        global_clipnorm=peers.CLIP_NORM,
    )
    step = make_step(model, optimizer)
    state = initial_state(model, optimizer)
    examples = [jax.device_put(example(batch)) for batch in batches]

    def run(i: int) -> jax.Array:
        nonlocal state
        state, loss = step(state, examples[i])
        return loss

    return Steps(model.count_params(), run, wait=jax.block_until_ready)


def make_step(
    model: keras.Model, optimizer: keras.optimizers.Optimizer
) -> Callable[[State, Any], tuple[State, jax.Array]]:
    """A compiled training step: state and batch to new state and loss.

    Args:
        model: a model of `build_pretrainer` with both outputs.
        optimizer: the optimizer, which also clips gradients.
    Returns: a function of a state, whose memory is reused for the new state,
        and a batch of (inputs, labels, weights), dicts by name.
    """
    parts = losses.pretraining_losses()

    def total_loss(trainable, others, batch):
        inputs, labels, weights = batch
        outputs, others = model.stateless_call(
            trainable, others, inputs, training=True
        )
        means = [
            jnp.mean(loss.call(labels[name], outputs[name]) * weights[name])
            for name, loss in parts.items()
        ]
        return sum(means), others

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, batch):
        trainable, others, slots = state
        (loss, others), gradients = jax.value_and_grad(
            total_loss, has_aux=True
        )(trainable, others, batch)
        trainable, slots = optimizer.stateless_apply(
            slots, gradients, trainable
        )
        return (trainable, others, slots), loss

    return step


def initial_state(
    model: keras.Model, optimizer: keras.optimizers.Optimizer
) -> State:
    """Copies of all variables: weights, seeds of dropout, optimizer."""
    optimizer.build(model.trainable_variables)
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        optimizer.variables,
    )
    weights, others, slots = (
        [jnp.array(variable.value) for variable in group] for group in groups
    )
    return weights, others, slots


def example(batch: Batch) -> tuple[dict[str, Any], ...]:
    """Inputs, labels and weights; the predictions' weights average to 1."""
    mask_weights = batch[features.MASK_WEIGHTS]
    pairs = batch[features.NEXT_SENTENCE_LABELS]
    names = features.ENCODER_INPUTS + features.MLM_INPUTS
    return (
        {name: batch[name] for name in names},
        {
            features.MLM_LOGITS: batch[features.MASK_IDS],
            features.NSP_LOGITS: pairs,
        },
        {
            features.MLM_LOGITS: mask_weights / mask_weights.mean(),
            features.NSP_LOGITS: (pairs * 0 + 1).astype("float32"),
        },
    )
