# SPDX-License-Identifier: Apache-2.0
"""Classes for single sentences and for sentence pairs."""

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.models import encode


def build_classifier(config: BertConfig, num_classes: int) -> keras.Model:
    """An encoder with a class head on its pooled output.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32; a pair
        of sentences is packed in one row, told apart by segment_ids.
    Outputs: logits (B, num_classes) float32.
    Raises: ValueError if there are fewer than two classes.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 4.1.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}; wanted 2 or more.")
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    first_B1 = ops.zeros_like(inputs["token_ids"][:, :1])
    encoded = encode(config, inputs, positions=first_B1)
    pooled = keras.layers.Dropout(
        config.hidden_dropout_prob, dtype="float32", name="classifier_dropout"
    )(encoded.pooled)
    logits = keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.TruncatedNormal(
            stddev=config.initializer_range
        ),
        dtype="float32",
        name="classifier",
    )(pooled)
    outputs = {features.LOGITS: logits}
    return keras.Model(inputs, outputs, name="classifier")


def losses() -> dict[str, keras.losses.Loss]:
    """Cross-entropy with the label of each row, for `compile` or the loop."""
    return {
        features.LOGITS: keras.losses.SparseCategoricalCrossentropy(
            from_logits=True
        )
    }


def metrics() -> dict[str, list[keras.metrics.Metric]]:
    """The share of rows whose best class is their label."""
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    return {features.LOGITS: [accuracy]}


def decode(logits):
    """(B, C) logits -> probabilities (B, C) and best classes (B,) int32."""
    probabilities = ops.softmax(ops.cast(logits, "float32"))
    return probabilities, ops.cast(ops.argmax(logits, axis=-1), "int32")
