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
    """Says which of its choices fits a text best.

    Call: text (B,) string, choices (B, C) string, C as the model was trained
        -> {"probabilities": (B, C) float32; "choice": (B,) int32, the index
        of the best, from 0}. A text and a choice that are too long are
        truncated.
        An empty choice is a choice too.
    `predict` gives for each row {"choice": index, "text": that choice,
        "probabilities": [...]}.
    """

    text_inputs = ("text", "choices")
    several = ("choices",)

    def _input_specs(self):
        text, choices = super()._input_specs()
        count = self.spec.settings.num_choices
        return [text, tf.TensorSpec((None, count), tf.string, choices.name)]

    def _outputs(self, text, choices):
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
        count = self.spec.settings.num_choices
        for row, choices in enumerate(columns[1]):
            if len(choices) != count:
                raise BadText(
                    row,
                    f"{len(choices)} choices; this model takes {count}.",
                )

    def _groups(self, text, choices):
        return [(text, choice) for choice in choices]

    def _rows(self, outputs, columns):
        rows = zip(
            outputs[CHOICE].tolist(),
            outputs[PROBABILITIES].tolist(),
            columns[1],
            strict=True,
        )
        return [
            {
                CHOICE: index,
                "text": readable(choices[index]),
                PROBABILITIES: numbers,
            }
            for index, numbers, choices in rows
        ]
