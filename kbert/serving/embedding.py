# SPDX-License-Identifier: Apache-2.0
"""Texts to vectors."""

import numpy as np

from kbert import features
from kbert.models import pool
from kbert.serving.text_server import TextServer
from kbert.text.packing import pack

EMBEDDING = "embedding"  # in the signature


class EmbeddingServer(TextServer):
    """Gives a text a vector, pooled from those of its tokens.

    Call: texts (B,) string -> {"embedding": (B, H) float32}. Texts that are
        too long are cut.
    `predict` gives for each row {"embedding": (H,) float32}, an array.

    Args:
        model: as `kbert.models.build_features` gives it.
        vocabulary: of the encoder.
        spec: of the encoder.
        pooling: how, one of `kbert.models.POOLINGS`.
        normalize: whether the vectors have length 1.
    """

    text_inputs = ("text",)

    def __init__(self, model, *, vocabulary, spec, pooling, normalize):
        super().__init__(model, vocabulary=vocabulary, spec=spec)
        self.width: int = model.output[features.SEQUENCE].shape[-1]
        self._pooling, self._normalize = pooling, normalize

    def _answer(self, text):
        inputs, _ = pack(
            self._tokenizer(text),
            vocabulary=self.vocabulary,
            seq_length=self.spec.max_seq_length,
        )
        sequence = self._model(inputs, training=False)[features.SEQUENCE]
        mask = inputs["padding_mask"]
        vectors = pool(sequence, mask, self._pooling, self._normalize)
        return {EMBEDDING: vectors}

    def _rows(self, answers, columns):
        # As Python's numbers a large file's would take most of the time.
        return [{EMBEDDING: np.array(row)} for row in answers[EMBEDDING]]
