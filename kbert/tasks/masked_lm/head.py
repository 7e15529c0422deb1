# SPDX-License-Identifier: Apache-2.0
"""The tokens that a masked-LM output predicts for a [MASK]."""

from typing import Any

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.models import build_pretrainer
from kbert.tasks.heads import Head


def decode(logits, count: int):
    """The best tokens of each position, the best first.

    Args:
        logits: (B, P, V) float.
        count: K, at most V.
    Returns: their probabilities (B, P, K) float32, over all tokens, and ids
        (B, P, K) int32.
    """
    probabilities = ops.softmax(ops.cast(logits, "float32"))
    best, ids = ops.top_k(probabilities, count)
    return best, ops.cast(ids, "int32")


def _build(config: BertConfig, spec: Any) -> keras.Model:
    outputs = {
        "pretraining": [features.MLM_LOGITS, features.NSP_LOGITS],
        "masked_lm": [features.MLM_LOGITS],
        "next_sentence": [features.NSP_LOGITS],
    }
    return build_pretrainer(config, outputs[spec.task])


HEAD = Head(build=_build)
