# SPDX-License-Identifier: Apache-2.0
"""One number for a query and a text: a cross-encoder, and its losses."""

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import FoldChoices, UnfoldChoices
from kbert.models import encode
from kbert.tasks.heads import Head, dense_head
from kbert.tasks.reranking.settings import Settings


def build_reranker(config: BertConfig) -> keras.Model:
    """An encoder that scores each candidate, from its pooled output.

    Inputs: token_ids, segment_ids, padding_mask, each (B, C, S) int32, C any
        number of candidates; a query and one candidate are packed as a pair.
    Outputs: logits (B, C) float32.
    Source: Nogueira and Cho 2019, arXiv:1901.04085, section 3.2.
    """
    inputs = {
        name: keras.Input((None, None), dtype="int32", name=name)
        for name in features.ENCODER_INPUTS
    }
    fold = FoldChoices(name="fold_choices")
    rows = {name: fold(value) for name, value in inputs.items()}
    first_B1 = ops.zeros_like(rows["token_ids"][:, :1])
    encoded = encode(config, rows, positions=first_B1)
    # The name of a regression's: each takes the weights of the other.
    scores = dense_head(config, encoded.pooled, 1, "regressor")
    scores = UnfoldChoices(name="unfold_choices", dtype="float32")(
        scores, inputs["token_ids"]
    )
    logits = ops.squeeze(scores, -1)
    return keras.Model(inputs, {features.LOGITS: logits}, name="reranker")


@keras.saving.register_keras_serializable(package="kbert")
class PairCrossentropy(keras.losses.Loss):
    """The cross-entropy of each candidate's logit with its label.

    Call: labels (B, C), 0 to 1, and logits (B, C) -> the mean of the rows',
        each of which is the mean of its candidates'.
    """

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, y_pred.dtype)
        losses = ops.softplus(y_pred) - labels * y_pred
        return ops.mean(losses, axis=-1)


@keras.saving.register_keras_serializable(package="kbert")
class ListCrossentropy(keras.losses.Loss):
    """The cross-entropy of a softmax over the candidates of a query.

    Call: labels (B, C), 1 for the relevant candidate and 0 for others, and
        logits (B, C) -> the mean of the rows'; that of a row with no relevant
        candidate, or with no other, is 0.
    Source: Cao et al. 2007, doi:10.1145/1273496.1273513, section 4 (with the
        top one probabilities).
    """

    def call(self, y_true, y_pred):
        labels = ops.cast(y_true, y_pred.dtype)
        total = ops.maximum(ops.sum(labels, axis=-1), 1.0)
        losses = labels * ops.log_softmax(y_pred, axis=-1)
        return -ops.sum(losses, axis=-1) / total


@keras.saving.register_keras_serializable(package="kbert")
class MarginSquaredError(keras.losses.Loss):
    """The squared error of the margin between a positive and a negative.

    Call: margins (B, 1) of a teacher, and logits (B, 2), the positive's first
        -> the mean of the rows'; that of a row with one candidate is 0.
    Source: Hofstätter et al. 2020, arXiv:2010.02666, section 3.2, equation 3.
    """

    def call(self, y_true, y_pred):
        margins = y_pred[:, :1] - y_pred[:, 1:2]
        errors = margins - ops.cast(y_true, y_pred.dtype)
        return ops.sum(ops.square(errors), axis=-1)


_LOSSES = {
    "binary_crossentropy": PairCrossentropy,
    "list": ListCrossentropy,
    "margin_mse": MarginSquaredError,
}


def losses(loss: str) -> dict[str, keras.losses.Loss]:
    """The loss of a setting: see the classes in this file."""
    return {features.LOGITS: _LOSSES[loss]()}


def metrics() -> dict[str, list[keras.metrics.Metric]]:
    """None but the loss: the scores are of all rows of a query."""
    return {features.LOGITS: []}


def decode(logits, activation: str):
    """The scores, float32 of the same shape, of a setting's activation."""
    logits = ops.cast(logits, "float32")
    return ops.sigmoid(logits) if activation == "sigmoid" else logits


HEAD = Head(
    build=lambda config, spec: build_reranker(config),
    losses=lambda spec: losses(spec.settings.loss),
    metrics=lambda spec: metrics(),
    settings=Settings,
    has_pairs=True,
)
