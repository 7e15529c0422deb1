# SPDX-License-Identifier: Apache-2.0
"""All that an export answers, by the names of its signatures."""

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
    """A model's answers to strings and to token ids, over one set of weights.

    serving_default  what the task's server answers; for a bare encoder, that
                     of `embeddings`
    words            a tagger's answers to lists of words
    fill_mask        for a model with a masked-LM output, its default too
    next_sentence    for a pre-trained model with that output
    embeddings       text (B,) string -> embedding (B, H) float32, of the
                     tokens' top layer: pooled and normalized as the settings
                     of an encoder say, and else their mean
    token_ids        what the model gives for token ids; see `TokenIds`

    Args:
        model: of a task.
        vocabulary: of the model.
        spec: likewise.
        precision: "float32", or one of `ReducedWeights`.

    Attributes:
        vocabulary: as given.
        spec: likewise.
        weights: what the graphs read, to be saved with them.
        compute_dtype: name of the matrix products' dtype.
    Raises: ValueError if the model's policy is not that of the precision.
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
        belonging = {"vocabulary": vocabulary, "spec": spec}
        shared = SharedBlocks()
        unpadded = shared.of(model)
        encoder = unpadded
        if spec.task != "encoder":
            encoder = shared.of(models.encoder_of(model))
        self._embedder = self._make_embedder(encoder)
        self._server: Any = self._embedder
        if spec.task != "encoder":
            self._server = parts.predictor_class(spec.task)(
                unpadded, **belonging
            )
        self._token_ids = TokenIds(self._server, model)
        self._next_sentence = None
        if {features.NSP_LOGITS, features.MLM_LOGITS} <= {*model.output}:
            self._next_sentence = NextSentencePredictor(unpadded, **belonging)

    def _make_embedder(self, encoder):
        return EmbeddingPredictor(
            encoder, vocabulary=self.vocabulary, spec=spec_of(self.spec)
        )

    def by_name(self) -> dict[str, Any]:
        """The graph of each, a concrete function."""
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
        """The answers of the task's own server: see its `predict`."""
        with self._reads:  # a graph that is made now is that of by_name
            return self._server.predict(*columns, batch_size=batch_size)

    def padded(self) -> dict[str, Any]:
        """Those that only compute, without a choice, by the model as it is.

        To compare with: the model's dense layers are not spared the padding.
        """
        embedder = self._make_embedder(models.encoder_of(self._model))
        server: Any = embedder
        if self.spec.task != "encoder":
            server = parts.predictor_class(self.spec.task)(
                self._model, vocabulary=self.vocabulary, spec=self.spec
            )
        with self._reads:
            return {
                EMBEDDINGS: embedder.signature(),
                TOKEN_IDS: TokenIds(server, self._model).signature(),
            }
