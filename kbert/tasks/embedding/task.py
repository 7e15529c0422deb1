# SPDX-License-Identifier: Apache-2.0
"""Vectors of texts."""

import dataclasses
import os
from typing import Any, Self

import numpy as np

from kbert import models
from kbert.checkpoints import folder
from kbert.tasks.embedding.predictor import (
    EMBEDDING,
    EmbeddingPredictor,
    spec_of,
)
from kbert.tasks.shared_blocks import SharedBlocks
from kbert.tasks.task import Task


class Embedder(Task):
    """Vectors of texts, pooled from those of their tokens.

    It reads the encoder of a model of any task; of a sentence-transformers
    folder with its pooling, normalization and longest text. Other settings
    are arguments of `from_pretrained`: pooling "cls", "mean" or "max" (see
    `kbert.pool`), and normalize, whether vectors have length 1. `predict`
    gives an array, (N, H) float32. `fit` does not train it yet.

    Example:
        model = kbert.Embedder.from_pretrained("all-MiniLM-L6-v2")
        vectors = model.predict(["A fine film.", "Two dull hours."])
    """

    task = "encoder"
    _layer = -1

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike, *, layer: int = -1, **kwargs: Any
    ) -> Self:
        """Reads the encoder of a model: see `Task.from_pretrained`.

        Args:
            path: of the model.
            layer: whose vectors `predict` pools: 0 for the embeddings, 1 or
                more for a block's output, negative ones counted from the top.
            **kwargs: pooling, normalize, max_seq_length, lower_case.
        Raises: ValueError, naming the file or the argument; OSError.
        """
        embedder = super().from_pretrained(path, **kwargs)
        embedder._layer = layer
        # Now, for a layer that is not there is an error.
        embedder._made_predictor = embedder._make_predictor()
        return embedder

    @classmethod
    def _spec_for(cls, loaded, labels, num_texts, max_seq_length, settings):
        """Any model's encoder, with the pooling of its folder or the mean."""
        if labels is not None:
            raise ValueError(f"labels={list(labels)}: an encoder has none.")
        length = max_seq_length or loaded.spec.max_seq_length
        spec = spec_of(loaded.spec).with_settings(**settings)
        return dataclasses.replace(spec, max_seq_length=length)

    def predict(
        self, x: Any, *, batch_size: int = 32, **options: Any
    ) -> np.ndarray:
        """The vectors of texts, (N, H) float32.

        Args:
            x: a list of texts, an array or a column of a table.
            batch_size: rows at once.
            **options: none.
        Raises: ValueError, naming the row.
        """
        found = super().predict(x, batch_size=batch_size, **options)
        vectors = [row[EMBEDDING] for row in found]
        width = self.config.hidden_size
        return np.array(vectors, np.float32).reshape(-1, width)

    def _make_predictor(self):
        encoder = models.build_features(self.config, self._layer)
        folder.copy_weights(self.keras_model, encoder, fewer_blocks=True)
        return EmbeddingPredictor(
            SharedBlocks().of(encoder),
            vocabulary=self.vocabulary,
            spec=self.spec,
        )
