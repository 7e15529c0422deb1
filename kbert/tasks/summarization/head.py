# SPDX-License-Identifier: Apache-2.0
"""The sentences of a document that say the most."""

import keras
import numpy as np
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.models import encode
from kbert.tasks.element_losses import BinaryCrossentropy
from kbert.tasks.heads import Head, dense_head
from kbert.tasks.summarization.settings import Settings


def build_summarizer(config: BertConfig) -> keras.Model:
    """An encoder that gives each sentence a score, from the [CLS] before it.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32, of rows
        that hold several sentences, [CLS] sentence [SEP] each, segments 0 and
        1 alternating; sentence_positions (B, P) int32, those of the [CLS]s,
        the first of them 0, and 0 where there are no more.
    Outputs: logits (B, P) float32, one a sentence.
    Source: Liu 2019, arXiv:1903.10318, sections 2.1 and 2.2 (the simple
        classifier).
    """
    inputs = features.keras_inputs(
        features.ENCODER_INPUTS + features.SENTENCE_INPUTS
    )
    encoded = encode(config, inputs, positions=inputs["sentence_positions"])
    scores = dense_head(config, encoded.sequence, 1, "sentence_score")
    logits = ops.squeeze(scores, -1)
    return keras.Model(inputs, {features.LOGITS: logits}, name="summarizer")


def losses() -> dict[str, keras.losses.Loss]:
    """The cross-entropy of each sentence with its label, 1 if it is chosen.

    Sentences that are padding need weight 0.
    """
    return {features.LOGITS: BinaryCrossentropy()}


def metrics() -> dict[str, list[keras.metrics.Metric]]:
    """None but the loss: ROUGE is of whole documents."""
    return {features.LOGITS: []}


def decode(logits, given, count: int):
    """The best sentences of each document, in the document's order.

    Example, count 2, all given: logits [[3, -1, 5], [2, 2, 2]] give the best
    [[0, 2], [0, 1]]; with count 4 the first row's are [0, 1, 2, -1].

    Args:
        logits: (B, N) float, a sentence each.
        given: (B, N) bool, whether there is such a sentence.
        count: k, how many to choose at most.
    Returns: probabilities (B, N) float32, 0 where there is no sentence, and
        the indices of the best (B, k) int32, from 0, with -1 at the end where
        there are fewer. Of equal ones the first is better.
    """
    logits = ops.cast(logits, "float32")
    none = float("-inf")
    ranked = ops.where(given, logits, none)
    # More than k, for a document with fewer sentences.
    ranked = ops.pad(ranked, ((0, 0), (0, count)), constant_values=none)
    best, indices = ops.top_k(ranked, count)
    last = np.iinfo("int32").max
    indices = ops.where(best > none, ops.cast(indices, "int32"), last)
    indices = ops.sort(indices, axis=-1)
    indices = ops.where(ops.equal(indices, last), -1, indices)
    return ops.where(given, ops.sigmoid(logits), 0.0), indices


HEAD = Head(
    build=lambda config, spec: build_summarizer(config),
    losses=lambda spec: losses(),
    metrics=lambda spec: metrics(),
    settings=Settings,
    has_pairs=True,
)
