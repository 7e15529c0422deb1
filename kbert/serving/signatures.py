# SPDX-License-Identifier: Apache-2.0
"""The signatures of an export."""

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kbert import features, models
from kbert.serving.reduced_weights import ReducedWeights
from kbert.serving.token_ids import TokenIds
from kbert.tasks import TaskSpec, parts
from kbert.tasks.embedding.predictor import EmbeddingPredictor, spec_of
from kbert.tasks.masked_lm.predictor import (
    NEXT_SENTENCE,
    NextSentencePredictor,
)
from kbert.tasks.shared_blocks import SharedBlocks
from kbert.text.vocabulary import Vocabulary

TOKEN_IDS = "token_ids"
EMBEDDINGS = "embeddings"


class Signatures(tf.Module):
    """Signatures for strings and for token ids that share their weights.

    serving_default  the predictions of the task; for a bare encoder the same
                     as `embeddings`
    words            a tagger's predictions for lists of words
    rerank           a reranker's predictions, also its default
    fill_mask        for a model with a masked-LM head, also its default
    next_sentence    for a pre-trained model with a next-sentence head
    embeddings       text (B,) string -> embedding (B, D) float32: an
                     embedding model's; of other models the top layer's vectors
                     of tokens, pooled and normalized by the encoder's settings
    embeddings_query, embeddings_document
                     the same, of a model with a prompt for each kind of text
    token_ids        the model's outputs for token ids; see `TokenIds`

    Args:
        model: a model of a task.
        vocabulary: the vocabulary of the model.
        spec: the spec of the model.
        precision: "float32", or a precision of `ReducedWeights`.

    Attributes:
        vocabulary: the argument.
        spec: the argument.
        weights: the weights of the graphs, to be saved with them.
        compute_dtype: the name of the dtype of matrix products.
    Raises: ValueError if the model's policy does not fit the precision.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        vocabulary: Vocabulary,
        spec: TaskSpec,
        precision: str = "float32",
    ):
        super().__init__(name="signatures")
        self.vocabulary, self.spec = vocabulary, spec
        self.compute_dtype = model.dtype_policy.compute_dtype
        self.weights: list[Any] = [weight.value for weight in model.weights]
        self._reads = contextlib.nullcontext()
        if precision != "float32":
            reduced = ReducedWeights(model, precision)
            self.weights, self._reads = reduced.tracked, reduced
        self._model = model
        keywords = {"vocabulary": vocabulary, "spec": spec}
        shared = SharedBlocks()
        unpadded = shared.of(model)
        self._server: Any = parts.predictor_class(spec.task)(
            unpadded, **keywords
        )
        self._embedder = self._server
        if not self._gives_vectors:
            encoder = shared.of(models.encoder_of(model))
            self._embedder = self._make_embedder(encoder)
        self._token_ids = TokenIds(self._server, model)
        self._next_sentence = None
        if {features.NSP_LOGITS, features.MLM_LOGITS} <= {*model.output}:
            self._next_sentence = NextSentencePredictor(unpadded, **keywords)

    @property
    def _gives_vectors(self) -> bool:
        """Whether the task itself is to give texts vectors."""
        return issubclass(
            parts.predictor_class(self.spec.task), EmbeddingPredictor
        )

    def _make_embedder(self, encoder):
        return EmbeddingPredictor(
            encoder, vocabulary=self.vocabulary, spec=spec_of(self.spec)
        )

    def by_name(self) -> dict[str, Any]:
        """Returns the graph of each signature, a concrete function."""
        with self._reads:
            found = {**self._server.signatures()}
            if self._next_sentence:
                found[NEXT_SENTENCE] = self._next_sentence.signature()
            found[EMBEDDINGS] = self._embedder.signature()
            found[TOKEN_IDS] = self._token_ids.signature()
        return found

    def predict(
        self, *columns: Sequence[Any], batch_size: int = 32
    ) -> list[dict[str, Any]]:
        """Returns the predictions of the task; see its `predict`."""
        with self._reads:  # graphs traced here must equal those of by_name
            return self._server.predict(*columns, batch_size=batch_size)

    def padded(self) -> dict[str, Any]:
        """Returns the signatures with numeric outputs, computed with padding.

        They serve as the reference for the model without padding.
        """
        server: Any = parts.predictor_class(self.spec.task)(
            self._model, vocabulary=self.vocabulary, spec=self.spec
        )
        embedder = server
        if not self._gives_vectors:
            embedder = self._make_embedder(models.encoder_of(self._model))
        with self._reads:
            return {
                EMBEDDINGS: embedder.signature(),
                TOKEN_IDS: TokenIds(server, self._model).signature(),
            }
