# SPDX-License-Identifier: Apache-2.0
"""Texts to vectors."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.models import pool
from kbert.tasks import TaskSpec
from kbert.tasks.predictor import Predictor
from kbert.text.packing import pack

QUERY, DOCUMENT = "query", "document"  # the kinds of texts with prompts


class EmbeddingPredictor(Predictor):
    """Gives a text a vector, pooled from those of its tokens.

    Call: texts (B,) string -> {"embedding": (B, D) float32}. Texts that are
        too long are truncated, or read in windows.
    `predict` gives for each row {"embedding": (D,) float32}, an array.

    Args:
        model: of `build_embedder`; or with the output "sequence", as of
            `kbert.models.build_features`, which is pooled here.
        vocabulary: of the encoder.
        spec: of the encoder; its settings say how the vectors are pooled.
        prompt: a text that is put before each; by default that of the
            settings, if queries and documents have the same.
    """

    text_inputs = ("text",)

    def __init__(self, model, *, vocabulary, spec, prompt=None):
        super().__init__(model, vocabulary=vocabulary, spec=spec)
        output = model.output.get(features.EMBEDDING)
        self._is_pooled = output is not None
        if output is None:
            output = model.output[features.SEQUENCE]
        self.width: int = output.shape[-1]
        if prompt is None:
            query, document = prompts_of(spec).values()
            prompt = query if query == document else ""
        self._prompt = prompt

    def with_prompt(self, prompt: str) -> "EmbeddingPredictor":
        """The same with another prompt."""
        return EmbeddingPredictor(
            self._model,
            vocabulary=self.vocabulary,
            spec=self.spec,
            prompt=prompt,
        )

    def _outputs(self, text):
        if self._prompt:
            text = tf.strings.join([self._prompt, text])
        if self._is_pooled:
            vectors = self._output_of_texts(features.EMBEDDING, text)
            return {features.EMBEDDING: vectors}
        inputs, _ = pack(
            self._tokenizer(text),
            vocabulary=self.vocabulary,
            seq_length=self.spec.max_seq_length,
        )
        outputs = self._model(inputs, training=False)
        how = self.spec.settings
        vectors = pool(
            outputs[features.SEQUENCE],
            inputs["padding_mask"],
            how.pooling,
            how.normalize,
        )
        return {features.EMBEDDING: vectors}

    def signatures(self) -> dict[str, Any]:
        prompts = prompts_of(self.spec)
        if len(set(prompts.values())) == 1:
            return super().signatures()
        return super().signatures() | {
            f"embeddings_{kind}": self.with_prompt(prompt).signature()
            for kind, prompt in prompts.items()
        }

    def _groups(self, *row):
        return [(self._prompt, *row)] if self._prompt else [row]

    def _rows(self, outputs, columns):
        # As Python's numbers a large file's would take most of the time.
        return [
            {features.EMBEDDING: np.array(row)}
            for row in outputs[features.EMBEDDING]
        ]


def prompts_of(spec: TaskSpec) -> dict[str, str]:
    """What is put before queries and documents."""
    settings = spec.settings
    return {
        QUERY: getattr(settings, "query_prompt", ""),
        DOCUMENT: getattr(settings, "document_prompt", ""),
    }


def spec_of(
    spec: TaskSpec, pooling: str | None = None, normalize: bool | None = None
) -> TaskSpec:
    """The part of a model of another task that an `EmbeddingPredictor` needs.

    Args:
        spec: of the model.
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
