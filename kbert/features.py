# SPDX-License-Identifier: Apache-2.0
"""Names, dtypes and shapes of all model inputs and labels.

B batch, S tokens, P predictions, H hidden, V vocabulary, C classes or choices.

Inputs are int32 and named as KerasHub names them. In `padding_mask` 0 is
padding and 1 a token; where several texts are packed in one row, k is a token
of the k-th. Labels and their weights are dicts keyed by the name of the output
they belong to, which is what `model.fit` takes.
"""

from collections.abc import Iterable

import keras

ENCODER_INPUTS = ("token_ids", "segment_ids", "padding_mask")  # (B, S) int32
MLM_INPUTS = ("mask_positions",)  # (B, P) int32
SENTENCE_INPUTS = ("sentence_positions",)  # (B, P) int32, of their [CLS]s

# Outputs of the encoder.
SEQUENCE = "sequence"  # (B, S, H)
POOLED = "pooled"  # (B, H)

# Outputs of the pre-training model, and the labels that belong to them.
MLM_LOGITS = "mlm_logits"  # (B, P, V) float32; labels (B, P) int32
NSP_LOGITS = "nsp_logits"  # (B, 2) float32; labels (B,) int32, 1 = random

# Output of a task's head, and the labels that belong to it:
#   classification      (B, C); labels (B,) int32, or with several labels a
#                       row (B, C) float32 of 0 and 1
#   tagging             (B, S, C); labels (B, S) int32
#   question answering  (B, 2, S), where an answer starts and ends; labels
#                       (B, 2) int32, or with several answers (B, 2, S)
#                       float32 of 0 and 1
#   multiple choice     (B, C); labels (B,) int32
#   summarization       (B, P), a sentence each; labels (B, P) float32
LOGITS = "logits"  # float32

# Output of a regression; labels (B,) float32.
VALUE = "value"  # (B,) float32

# What records hold beside the inputs, before it becomes labels and weights.
MASK_IDS = "mask_ids"  # (B, P) int32, the tokens that were masked
MASK_WEIGHTS = "mask_weights"  # (B, P) float32, 0 where P is padding
NEXT_SENTENCE_LABELS = "next_sentence_labels"  # (B,) int32, 1 = random


def keras_inputs(names: Iterable[str]) -> dict[str, keras.KerasTensor]:
    """An int32 (B, None) input of a functional model for each name."""
    return {n: keras.Input((None,), dtype="int32", name=n) for n in names}
