# SPDX-License-Identifier: Apache-2.0
"""The pre-training loss for peers without one."""

import tensorflow as tf


def pretraining_loss(
    mlm_logits: tf.Tensor, nsp_logits: tf.Tensor, batch: dict[str, tf.Tensor]
) -> tf.Tensor:
    """Mean over the real predictions plus mean over the pairs."""
    each_BP = tf.nn.sparse_softmax_cross_entropy_with_logits(
        batch["mask_ids"], tf.cast(mlm_logits, tf.float32)
    )
    weights = batch["mask_weights"]
    mlm = tf.reduce_sum(each_BP * weights) / tf.reduce_sum(weights)
    each_B = tf.nn.sparse_softmax_cross_entropy_with_logits(
        batch["next_sentence_labels"], tf.cast(nsp_logits, tf.float32)
    )
    return mlm + tf.reduce_mean(each_B)
