# SPDX-License-Identifier: Apache-2.0
"""The outputs of pre-training, as they come."""

import dataclasses
from typing import Any

from kbert.tasks import inputs
from kbert.tasks.masked_lm.predictor import PROBABILITY, NextSentencePredictor
from kbert.tasks.shared_blocks import SharedBlocks
from kbert.tasks.task import Task

_TASKS = ("masked_lm", "pretraining", "next_sentence")


class MaskedLM(Task):
    """Tokens for the [MASK]s of a text, and whether one text follows another.

    `predict` gives {"masks": [{token: probability}, ...]} for each text, the
    best five tokens for each [MASK]; of a model that has the next-sentence
    output alone it takes a tuple of two lists and gives {"probability"}.
    kbert-pretrain trains it; `fit` does not.

    Example:
        model = kbert.MaskedLM.from_pretrained("bert-base-uncased")
        model.predict(["Paris is the [MASK] of France."])
    """

    task = "masked_lm"

    @classmethod
    def _spec_for(cls, loaded, labels, num_texts, max_seq_length, settings):
        """The pre-training outputs that the model has, or a new masked LM."""
        if loaded.spec.task not in _TASKS:
            return super()._spec_for(
                loaded, labels, num_texts, max_seq_length, settings
            )
        if labels is not None:
            raise ValueError(f"labels={list(labels)}: {cls.task} has none.")
        length = max_seq_length or loaded.spec.max_seq_length
        spec = loaded.spec.with_settings(**settings)
        return dataclasses.replace(spec, max_seq_length=length)

    def next_sentence(self, pairs: Any, *, batch_size: int = 32) -> list[float]:
        """How probably the second text of each pair follows the first.

        Args:
            pairs: a tuple of two lists of texts.
            batch_size: rows at once.
        Raises: ValueError if the model has no next-sentence output.
        """
        if self.spec.task == "masked_lm":
            raise ValueError("The model has no next-sentence output.")
        predictor = NextSentencePredictor(
            SharedBlocks().of(self.keras_model),
            vocabulary=self.vocabulary,
            spec=self.spec,
        )
        found = predictor.predict(*inputs.columns(pairs), batch_size=batch_size)
        return [row[PROBABILITY] for row in found]
