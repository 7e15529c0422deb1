# SPDX-License-Identifier: Apache-2.0
"""Texts to vectors."""

import dataclasses

import numpy as np

from kbert import features
from kbert.models import pool
from kbert.tasks import TaskSpec
from kbert.tasks.predictor import Predictor
from kbert.text.packing import pack

EMBEDDING = "embedding"  # in the signature


class EmbeddingPredictor(Predictor):
    """Gives a text a vector, pooled from those of its tokens.

    Call: texts (B,) string -> {"embedding": (B, H) float32}. Texts that are
        too long are truncated.
    `predict` gives for each row {"embedding": (H,) float32}, an array.

    Args:
        model: as `kbert.models.build_features` gives it.
        vocabulary: of the encoder.
        spec: of the encoder; its settings say how the vectors are pooled.
    """

    text_inputs = ("text",)

    def __init__(self, model, *, vocabulary, spec):
        super().__init__(model, vocabulary=vocabulary, spec=spec)
        self.width: int = model.output[features.SEQUENCE].shape[-1]

    def _outputs(self, text):
        inputs, _ = pack(
            self._tokenizer(text),
            vocabulary=self.vocabulary,
            seq_length=self.spec.max_seq_length,
        )
        sequence = self._model(inputs, training=False)[features.SEQUENCE]
        how = self.spec.settings
        vectors = pool(
            sequence, inputs["padding_mask"], how.pooling, how.normalize
        )
        return {EMBEDDING: vectors}

    def _rows(self, outputs, columns):
        # As Python's numbers a large file's would take most of the time.
        return [{EMBEDDING: np.array(row)} for row in outputs[EMBEDDING]]


def spec_of(
    spec: TaskSpec, pooling: str | None = None, normalize: bool | None = None
) -> TaskSpec:
    """The part of a model that an `EmbeddingPredictor` needs.

    Args:
        spec: of a model of any task.
        pooling: None for the model's own.
        normalize: same as above.
    Raises: ValueError for an unknown pooling.
    """
    given = {"pooling": pooling, "normalize": normalize}
    given = {name: x for name, x in given.items() if x is not None}
    return TaskSpec(
        task="encoder",
        max_seq_length=spec.max_seq_length,
        settings=dataclasses.replace(spec.embedding_settings, **given),
    )
