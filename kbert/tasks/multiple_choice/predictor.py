# SPDX-License-Identifier: Apache-2.0
"""Texts with choices to the best of them."""

import tensorflow as tf

from kbert import features
from kbert.tasks.classification import head
from kbert.tasks.predictor import BadText, Predictor, readable
from kbert.text.packing import pack_choices

# Names in the signature, which clients see.
PROBABILITIES = "probabilities"
CHOICE = "choice"


class MultipleChoicePredictor(Predictor):
    """Tells which of its choices fits a text best.

    Call: text (B,) string, choices (B, C) string, C as the model was trained
        -> {"probabilities": (B, C) float32; "choice": (B,) int32, the place
        of the best, from 0}. A text and a choice that are too long are
        truncated.
        An empty choice is one like others.
    `predict` gives for each row {"choice": place, "text": that choice,
        "probabilities": [...]}.
    """

    text_inputs = ("text", "choices")
    several = ("choices",)

    def _input_specs(self):
        text, choices = super()._input_specs()
        count = self.spec.settings.num_choices
        return [text, tf.TensorSpec((None, count), tf.string, choices.name)]

    def _answer(self, text, choices):
        count = self.spec.settings.num_choices
        tokens = self._tokenizer(tf.reshape(choices, [-1]))
        inputs = pack_choices(
            self._tokenizer(text),
            tf.RaggedTensor.from_uniform_row_length(tokens, count),
            num_choices=count,
            vocabulary=self.vocabulary,
            seq_length=self.spec.max_seq_length,
        )
        logits = self._model(inputs, training=False)[features.LOGITS]
        probabilities, best = head.decode(logits)
        return {PROBABILITIES: probabilities, CHOICE: best}

    def _check_columns(self, columns):
        super()._check_columns(columns)
        wanted = self.spec.settings.num_choices
        for place, choices in enumerate(columns[1]):
            if len(choices) != wanted:
                raise BadText(
                    place,
                    f"{len(choices)} choices; this model takes {wanted}.",
                )

    def _groups(self, text, choices):
        return [(text, choice) for choice in choices]

    def _rows(self, answers, columns):
        rows = zip(
            answers[CHOICE].tolist(),
            answers[PROBABILITIES].tolist(),
            columns[1],
            strict=True,
        )
        return [
            {
                CHOICE: place,
                "text": readable(choices[place]),
                PROBABILITIES: numbers,
            }
            for place, numbers, choices in rows
        ]
