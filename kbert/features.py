# SPDX-License-Identifier: Apache-2.0
"""Names, dtypes and shapes of all model inputs, outputs and labels.

B batch, S tokens, P predictions, H hidden, V vocabulary, C classes, choices or
candidates.

Inputs are int32 and have KerasHub's names. `padding_mask` is 0 at padding and
1 at tokens; if several texts are packed in one row, it is k at tokens of the
k-th text. Labels and weights are dicts keyed by the name of their output, as
`model.fit` takes them.
"""

from collections.abc import Iterable

import keras

ENCODER_INPUTS = ("token_ids", "segment_ids", "padding_mask")  # (B, S) int32
MLM_INPUTS = ("mask_positions",)  # (B, P) int32
SENTENCE_INPUTS = ("sentence_positions",)  # (B, P) int32, where each [CLS] is

# Outputs of the encoder.
SEQUENCE = "sequence"  # (B, S, H)
POOLED = "pooled"  # (B, H)

# Outputs of the pre-training model, and their labels.
MLM_LOGITS = "mlm_logits"  # (B, P, V) float32; labels (B, P) int32
NSP_LOGITS = "nsp_logits"  # (B, 2) float32; labels (B,) int32, 1 = random

# Output of a task's head, and its labels:
#   classification      (B, C); labels (B,) int32, or multi-label (B, C)
#                       float32 of 0 and 1
#   tagging             (B, S, C); labels (B, S) int32
#   question answering  (B, 2, S), start and end of an answer; labels (B, 2)
#                       int32, or with several answers (B, 2, S) float32 of 0
#                       and 1
#   multiple choice     (B, C); labels (B,) int32
#   reranking           (B, C); labels (B, C) float32, or margins (B, 1)
#   summarization       (B, P), one per sentence; labels (B, P) float32
LOGITS = "logits"  # float32

# Output of an embedding head; labels (B / T,) float32 of rows of T texts.
EMBEDDING = "embedding"  # (B, D) float32

# Output of a regression head; labels (B,) float32.
VALUE = "value"  # (B,) float32

# In records in addition to the inputs; they become labels and weights.
MASK_IDS = "mask_ids"  # (B, P) int32, the tokens that were masked
MASK_WEIGHTS = "mask_weights"  # (B, P) float32, 0 where P is padding
NEXT_SENTENCE_LABELS = "next_sentence_labels"  # (B,) int32, 1 = random


def keras_inputs(names: Iterable[str]) -> dict[str, keras.KerasTensor]:
    """Returns an int32 (B, None) model input for each name."""
    return {n: keras.Input((None,), dtype="int32", name=n) for n in names}
