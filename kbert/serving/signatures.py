# SPDX-License-Identifier: Apache-2.0
"""All that an export answers, by the names of its signatures."""

from typing import Any

import keras
import tensorflow as tf

from kbert import features, models
from kbert.serving import SERVERS
from kbert.serving.embedding import EmbeddingServer
from kbert.serving.next_sentence import NEXT_SENTENCE, NextSentenceServer
from kbert.serving.token_ids import TokenIds
from kbert.tasks import TaskSpec
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
    embeddings       text (B,) string -> embedding (B, H) float32, the mean of
                     the tokens' top layer
    token_ids        what the model gives for token ids; see `TokenIds`

    Args:
        model: of a task.
        vocabulary: of the model.
        spec: likewise.
        unpadded: whether the model's dense layers are spared the padding.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        vocabulary: Vocabulary,
        spec: TaskSpec,
        unpadded: bool = True,
    ):
        super().__init__(name="signatures")
        self.vocabulary, self.spec = vocabulary, spec
        encoder = models.encoder_of(model)
        given = model.output
        if unpadded:
            encoder = models.without_padding(encoder)
            model = models.without_padding(model)
        self._embedder = EmbeddingServer(
            encoder,
            vocabulary=vocabulary,
            spec=TaskSpec(task="encoder", max_seq_length=spec.max_seq_length),
            pooling="mean",
            normalize=False,
        )
        parts = {"vocabulary": vocabulary, "spec": spec}
        self._server: Any = self._embedder
        if spec.task in SERVERS:
            self._server = SERVERS[spec.task](model, **parts)
        self._token_ids = TokenIds(self._server, model)
        self._next_sentence = None
        if features.NSP_LOGITS in given and features.MLM_LOGITS in given:
            self._next_sentence = NextSentenceServer(model, **parts)

    def by_name(self) -> dict[str, Any]:
        """The graph of each, a concrete function."""
        found = {**self._server.signatures()}
        if self._next_sentence:
            found[NEXT_SENTENCE] = self._next_sentence.signature()
        return {**found, **self.numbers()}

    def numbers(self) -> dict[str, Any]:
        """The graphs among them that only compute, without a choice."""
        return {
            EMBEDDINGS: self._embedder.signature(),
            TOKEN_IDS: self._token_ids.signature(),
        }
