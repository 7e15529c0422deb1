# SPDX-License-Identifier: Apache-2.0
"""Texts or pairs to classes."""

import tensorflow as tf

from kbert import features
from kbert.tasks.classification import head
from kbert.tasks.predictor import Predictor

# Names in the signature, which clients see.
TEXT_INPUTS = {1: ("text",), 2: ("text_a", "text_b")}  # by texts a row
PROBABILITIES = "probabilities"
LABEL, LABELS = "label", "labels"


class ClassificationPredictor(Predictor):
    """Says which class a text or a pair has.

    Call: texts (B,) string, one tensor for each text of a row
        -> {"probabilities": (B, C) float32, in the order of the labels;
        "label": (B,) string}. Texts that are too long are
        truncated, or read in windows.
        If a row may have several labels: {"probabilities", independent ones;
        "labels": (B, C) int32, 1 for those it has}.
    `predict` gives for each row {"label": the best class, "probabilities":
        {class: probability}}; with several {"labels": [class, ...],
        "probabilities": {...}}.

    Attributes:
        labels: the classes' names, in the order of the probabilities.
    """

    def __init__(self, model, *, vocabulary, spec):
        super().__init__(model, vocabulary=vocabulary, spec=spec)
        self.labels = tuple(spec.labels)
        self.text_inputs = TEXT_INPUTS[spec.num_texts]
        self._settings = spec.settings

    def _outputs(self, *texts):
        logits = self._output_of_texts(features.LOGITS, *texts)
        if self._settings.multi_label:
            probabilities, has = head.decode_several(
                logits, self._settings.threshold
            )
            return {PROBABILITIES: probabilities, LABELS: tf.cast(has, "int32")}
        probabilities, best = head.decode(logits)
        labels = tf.gather(tf.constant(self.labels), best)
        return {PROBABILITIES: probabilities, LABEL: labels}

    def _rows(self, outputs, columns):
        rows = []
        for index, numbers in enumerate(outputs[PROBABILITIES].tolist()):
            if self._settings.multi_label:
                has = zip(self.labels, outputs[LABELS][index], strict=True)
                found = {LABELS: [label for label, is_one in has if is_one]}
            else:
                found = {LABEL: outputs[LABEL][index].decode()}
            by_label = dict(zip(self.labels, numbers, strict=True))
            rows.append({**found, PROBABILITIES: by_label})
        return rows
