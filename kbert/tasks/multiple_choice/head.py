# SPDX-License-Identifier: Apache-2.0
"""The right one of several choices, such as endings of a story."""

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import FoldChoices
from kbert.models import encode
from kbert.tasks.classification import head as classification
from kbert.tasks.heads import Head, dense_head
from kbert.tasks.multiple_choice.settings import Settings


def build_multiple_choice(config: BertConfig, num_choices: int) -> keras.Model:
    """An encoder that gives each choice a score, from its pooled output.

    Inputs: token_ids, segment_ids, padding_mask, each (B, num_choices, S)
        int32; what is asked and one choice are packed as a pair.
    Outputs: logits (B, num_choices) float32.
    Raises: ValueError if there are fewer than two choices.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 4.4.
    """
    if num_choices < 2:
        raise ValueError(f"num_choices is {num_choices}; needs 2 or more.")
    inputs = {
        name: keras.Input((num_choices, None), dtype="int32", name=name)
        for name in features.ENCODER_INPUTS
    }
    fold = FoldChoices(name="fold_choices")
    rows = {name: fold(value) for name, value in inputs.items()}
    first_B1 = ops.zeros_like(rows["token_ids"][:, :1])
    encoded = encode(config, rows, positions=first_B1)
    scores = dense_head(config, encoded.pooled, 1, "choice_score")
    logits = ops.reshape(scores, (-1, num_choices))
    return keras.Model(
        inputs, {features.LOGITS: logits}, name="multiple_choice"
    )


HEAD = Head(
    build=lambda config, spec: build_multiple_choice(
        config, spec.settings.num_choices
    ),
    losses=lambda spec: classification.losses(),
    metrics=lambda spec: classification.metrics(),
    settings=Settings,
    has_pairs=True,
)
