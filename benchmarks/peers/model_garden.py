# SPDX-License-Identifier: Apache-2.0
"""Model Garden's BERT layers and optimizer (Keras 2), in a tf.function."""

import numpy as np
import tensorflow as tf
import tf_keras
from official.nlp import optimization
from official.nlp.modeling import models, networks

from benchmarks import peers
from benchmarks.peers import Steps
from benchmarks.peers.tensorflow_loss import pretraining_loss
from benchmarks.pretrain_batches import Batch, Work

_INPUTS = {
    "input_word_ids": "token_ids",
    "input_mask": "padding_mask",
    "input_type_ids": "segment_ids",
    "masked_lm_positions": "mask_positions",
}


def make_steps(
    work: Work, batches: list[Batch], *, dtype: str, xla: bool
) -> Steps:
    """See `benchmarks.peers`. AdamWeightDecay clips by global norm 1.0."""
    tf_keras.mixed_precision.set_global_policy(dtype)
    model = _model(work)
    next_sentence = tf_keras.layers.Dense(2, name="next_sentence")
    optimizer = optimization.AdamWeightDecay(
        learning_rate=peers.LEARNING_RATE,
        weight_decay_rate=peers.WEIGHT_DECAY,
        beta_1=peers.BETA_1,
        beta_2=peers.BETA_2,
        epsilon=peers.EPSILON,
        gradient_clip_norm=peers.CLIP_NORM,
        exclude_from_weight_decay=["LayerNorm", "layer_norm", "bias"],
    )
    tensors = [
        {name: tf.constant(value) for name, value in batch.items()}
        for batch in batches
    ]

    def logits(batch):
        inputs = {theirs: batch[name] for theirs, name in _INPUTS.items()}
        outputs = model(inputs, training=True)
        return outputs["mlm_logits"], next_sentence(outputs["pooled_output"])

    logits(tensors[0])  # makes the variables
    variables = model.trainable_variables + next_sentence.trainable_variables

    @tf.function(jit_compile=xla)
    def step(batch):
        with tf.GradientTape() as tape:
            loss = pretraining_loss(*logits(batch), batch)
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    parameters = sum(int(np.prod(v.shape)) for v in variables)
    return Steps(parameters, lambda i: step(tensors[i]))


def _model(work: Work) -> models.BertPretrainerV2:
    initializer = tf_keras.initializers.TruncatedNormal(stddev=0.02)
    encoder = networks.BertEncoderV2(
        vocab_size=work.vocab_size,
        hidden_size=work.hidden_size,
        num_layers=work.layers,
        num_attention_heads=work.heads,
        max_sequence_length=work.max_positions,
        type_vocab_size=2,
        inner_dim=4 * work.hidden_size,
        output_dropout=peers.DROPOUT,
        attention_dropout=peers.DROPOUT,
    )
    return models.BertPretrainerV2(
        encoder,
        mlm_activation=lambda x: tf.nn.gelu(x, approximate=True),
        mlm_initializer=initializer,
    )
