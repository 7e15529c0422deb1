# SPDX-License-Identifier: Apache-2.0
"""A number for a sentence or a sentence pair, such as their similarity."""

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.tasks.element_losses import SquaredError
from kbert.tasks.heads import Head, pooled_head
from kbert.tasks.long_texts import Join
from kbert.tasks.regression.settings import Settings


def build_regressor(
    config: BertConfig, join: Join | None = None
) -> keras.Model:
    """An encoder with one number on its pooled output.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32; (B, N, S)
        if the pooled outputs of windows are joined, as a classifier's.
    Outputs: value (B,) float32.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 4.1, STS-B.
    """
    inputs, value = pooled_head(config, 1, "regressor", join)
    outputs = {features.VALUE: ops.squeeze(value, -1)}
    return keras.Model(inputs, outputs, name="regressor")


def losses() -> dict[str, keras.losses.Loss]:
    """The squared difference from each row's number."""
    return {features.VALUE: SquaredError()}


def metrics() -> dict[str, list[keras.metrics.Metric]]:
    """None but the loss: correlations are of all rows at once."""
    return {features.VALUE: []}


HEAD = Head(
    build=lambda config, spec: build_regressor(config, spec.settings.join),
    losses=lambda spec: losses(),
    metrics=lambda spec: metrics(),
    settings=Settings,
)
