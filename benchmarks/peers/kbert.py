# SPDX-License-Identifier: Apache-2.0
"""kbert's model, losses and optimizer, in the step of `kbert-pretrain`.

That step also updates the means and accuracies that the command reports.
"""

import keras
import tensorflow as tf

from benchmarks import peers
from benchmarks.peers import Steps
from benchmarks.pretrain_batches import Batch, Work
from kbert import features
from kbert.config import BertConfig
from kbert.models import build_pretrainer
from kbert.training import losses
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.loop import Trainer


def make_steps(
    work: Work, batches: list[Batch], *, dtype: str, xla: bool
) -> Steps:
    """See `benchmarks.peers`."""
    if xla:
        raise ValueError("kbert-pretrain's step is not compiled by XLA.")
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
    trainer = Trainer(
        model,
        losses=losses.pretraining_losses(),
        metrics=losses.pretraining_metrics(),
        optimizer=FusedAdamW(
            peers.LEARNING_RATE,
            weight_decay=peers.WEIGHT_DECAY,
            beta_1=peers.BETA_1,
            beta_2=peers.BETA_2,
            epsilon=peers.EPSILON,
        ),
        clip_norm=peers.CLIP_NORM,
    )
    examples = [_example(batch) for batch in batches]

    def loss(_) -> float:
        scores = trainer.means.take()
        return scores["mlm_loss"] + scores["nsp_loss"]

    return Steps(
        model.count_params(), lambda i: trainer.train_step(examples[i]), loss
    )


def _example(batch: Batch) -> tuple[dict[str, tf.Tensor], ...]:
    """Inputs, labels and weights as `kbert.data.record_batches` gives them."""
    mask_weights = batch[features.MASK_WEIGHTS]
    scale = mask_weights.size / mask_weights.sum()
    pairs = batch[features.NEXT_SENTENCE_LABELS]
    names = features.ENCODER_INPUTS + features.MLM_INPUTS
    arrays = (
        {name: batch[name] for name in names},
        {
            features.MLM_LOGITS: batch[features.MASK_IDS],
            features.NSP_LOGITS: pairs,
        },
        {
            features.MLM_LOGITS: mask_weights * scale,
            features.NSP_LOGITS: (pairs * 0 + 1).astype("float32"),
        },
    )
    return tf.nest.map_structure(tf.constant, arrays)
