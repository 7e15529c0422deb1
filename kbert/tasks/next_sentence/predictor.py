# SPDX-License-Identifier: Apache-2.0
"""Pairs of texts to how probably one follows the other."""

import tensorflow as tf

from kbert import features
from kbert.tasks.predictor import Predictor
from kbert.text.packing import pack

NEXT_SENTENCE = "next_sentence"  # the signature, where there are others
PROBABILITY = "probability"  # in the signature


class NextSentencePredictor(Predictor):
    """Tells how probably the second text of a pair follows the first.

    Call: text_a, text_b (B,) string -> {"probability": (B,) float32}. Texts
        that are too long are truncated.
    `predict` gives for each row {"probability": number}.
    """

    text_inputs = ("text_a", "text_b")

    def _answer(self, *inputs):
        packed, _ = pack(
            *(self._tokenizer(text) for text in inputs),
            vocabulary=self.vocabulary,
            seq_length=self.spec.max_seq_length,
        )
        if "mask_positions" in self._model.input:
            packed["mask_positions"] = packed["token_ids"][:, :0]
        outputs = self._model(packed, training=False)
        # Index 0 is the next one, 1 a random one.
        is_next = tf.nn.softmax(outputs[features.NSP_LOGITS])[:, 0]
        return {PROBABILITY: is_next}

    def _rows(self, answers, columns):
        return [{PROBABILITY: x} for x in answers[PROBABILITY].tolist()]
