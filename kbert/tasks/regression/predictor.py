# SPDX-License-Identifier: Apache-2.0
"""Texts or pairs to numbers."""

from kbert import features
from kbert.tasks.classification.predictor import TEXT_INPUTS
from kbert.tasks.predictor import Predictor


class RegressionPredictor(Predictor):
    """Gives a text or a pair a number.

    Call: texts (B,) string, one tensor for each text of a row
        -> {"value": (B,) float32}. Texts that are too long are
        truncated, or read in windows.
    `predict` gives for each row {"value": number}.
    """

    def __init__(self, model, *, vocabulary, spec):
        super().__init__(model, vocabulary=vocabulary, spec=spec)
        self.text_inputs = TEXT_INPUTS[spec.num_texts]

    def _outputs(self, *texts):
        return {features.VALUE: self._output_of_texts(features.VALUE, *texts)}

    def _rows(self, outputs, columns):
        return [{features.VALUE: x} for x in outputs[features.VALUE].tolist()]
