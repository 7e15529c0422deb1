# SPDX-License-Identifier: Apache-2.0
"""KerasHub's BERT layers on Keras 3 and TensorFlow, in a tf.function."""

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from benchmarks import peers
from benchmarks.peers import Steps
from benchmarks.peers.tensorflow_loss import pretraining_loss
from benchmarks.pretrain_batches import Batch, Work


def make_steps(
    work: Work, batches: list[Batch], *, dtype: str, xla: bool
) -> Steps:
    """See `benchmarks.peers`."""
    keras.config.set_dtype_policy(dtype)
    model = _model(work)
    optimizer = keras.optimizers.AdamW(
        learning_rate=peers.LEARNING_RATE,
        weight_decay=peers.WEIGHT_DECAY,
        beta_1=peers.BETA_1,
        beta_2=peers.BETA_2,
        epsilon=peers.EPSILON,
        global_clipnorm=peers.CLIP_NORM,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    tensors = [
        {name: tf.constant(value) for name, value in batch.items()}
        for batch in batches
    ]

    @tf.function(jit_compile=xla)
    def step(batch):
        inputs = {name: batch[name] for name in model.input}
        with tf.GradientTape() as tape:
            mlm, nsp = model(inputs, training=True)
            loss = pretraining_loss(mlm, nsp, batch)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    return Steps(parameters, lambda i: step(tensors[i]))


def _model(work: Work) -> keras.Model:
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=work.vocab_size,
        num_layers=work.layers,
        num_heads=work.heads,
        hidden_dim=work.hidden_size,
        intermediate_dim=4 * work.hidden_size,
        dropout=peers.DROPOUT,
        max_sequence_length=work.max_positions,
    )
    positions = keras.Input((None,), dtype="int32", name="mask_positions")
    mlm = keras_hub.layers.MaskedLMHead(
        token_embedding=backbone.token_embedding,
        intermediate_activation=lambda x: keras.ops.gelu(x, approximate=True),
        layer_norm_epsilon=1e-12,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
    )(backbone.output["sequence_output"], positions)
    nsp = keras.layers.Dense(2)(backbone.output["pooled_output"])
    inputs = {**backbone.input, "mask_positions": positions}
    return keras.Model(inputs, (mlm, nsp))
