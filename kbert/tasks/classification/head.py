# SPDX-License-Identifier: Apache-2.0
"""Classes for single sentences and for sentence pairs."""

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.tasks.classification.settings import Settings
from kbert.tasks.element_losses import BinaryCrossentropy
from kbert.tasks.heads import Head, pooled_head
from kbert.tasks.long_texts import Join


def build_classifier(
    config: BertConfig, num_classes: int, join: Join | None = None
) -> keras.Model:
    """An encoder with a class head on its pooled output.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32; a pair
        of sentences is packed in one row, and segment_ids say which is which.
        If the pooled outputs of windows are joined, by their "mean" or "max",
        (B, N, S); see `kbert.layers.JoinWindows`.
    Outputs: logits (B, num_classes) float32.
    Raises: ValueError if there are fewer than two classes.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 4.1.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}; needs 2 or more.")
    inputs, logits = pooled_head(config, num_classes, "classifier", join)
    return keras.Model(inputs, {features.LOGITS: logits}, name="classifier")


def losses(multi_label: bool = False) -> dict[str, keras.losses.Loss]:
    """Cross-entropy with the label of each row, for `compile` or the loop.

    With several labels a row, the mean over all labels.
    """
    if multi_label:
        return {features.LOGITS: BinaryCrossentropy()}
    return {
        features.LOGITS: keras.losses.SparseCategoricalCrossentropy(
            from_logits=True
        )
    }


def metrics(multi_label: bool = False) -> dict[str, list[keras.metrics.Metric]]:
    """The share of rows, or of rows' labels, that are right."""
    if multi_label:
        accuracy = keras.metrics.BinaryAccuracy(
            name="label_accuracy", threshold=0.0
        )
    else:
        accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    return {features.LOGITS: [accuracy]}


def decode(logits):
    """(B, C) logits -> probabilities (B, C) and best classes (B,) int32."""
    probabilities = ops.softmax(ops.cast(logits, "float32"))
    return probabilities, ops.cast(ops.argmax(logits, axis=-1), "int32")


def decode_several(logits, threshold: float):
    """(B, C) logits -> probabilities (B, C) and which labels (B, C) bool."""
    probabilities = ops.sigmoid(ops.cast(logits, "float32"))
    return probabilities, probabilities >= threshold


HEAD = Head(
    build=lambda config, spec: build_classifier(
        config, len(spec.labels), spec.settings.join
    ),
    losses=lambda spec: losses(spec.settings.multi_label),
    metrics=lambda spec: metrics(spec.settings.multi_label),
    settings=Settings,
    has_labels=True,
)
