# SPDX-License-Identifier: Apache-2.0
"""Queries with texts to the scores of the texts and their order."""

from types import MappingProxyType

import tensorflow as tf

from kbert import features
from kbert.tasks.chunks import map_in_chunks
from kbert.tasks.predictor import (
    Predictor,
    check_counts,
    check_list,
    no_wider_than_full,
)
from kbert.tasks.reranking import head
from kbert.text.packing import pack

# Names in the signature, which clients see.
QUERY, TEXTS, NUM_TEXTS = "query", "texts", "num_texts"
SCORES, ORDER = "scores", "order"
RERANK = "rerank"  # the signature's own name, besides serving_default


class RerankingPredictor(Predictor):
    """Scores how well texts answer a query.

    Call: query (B,) string, texts (B, N) string, num_texts (B,) int32, how
        many a query has -> {"scores": (B, N) float32, "order": (B, N) int32,
        the indices of the texts, from 0, the best first}. Where a query has
        no more texts, the score is 0, and the order -1 at its end. Of equal
        scores the first text is better. A query and a text that are too long
        are truncated.
    `predict` gives for each row {"scores": [...], "order": [...]}; a row may
        have one text instead of a list.
    """

    text_inputs = (QUERY, TEXTS)
    several = (TEXTS,)
    counts = MappingProxyType({TEXTS: NUM_TEXTS})

    def signatures(self):
        """The one graph, by both of its names."""
        found = super().signatures()
        return {**found, RERANK: self.signature()}

    def _outputs(self, *inputs):
        query, texts, counts_B = inputs
        texts = no_wider_than_full(texts)
        with tf.control_dependencies(check_counts(counts_B, texts, NUM_TEXTS)):
            given_BN = tf.sequence_mask(counts_B, tf.shape(texts)[1])
        indices_K2 = tf.where(given_BN)
        query_of_K = indices_K2[:, 0]
        queries = self._tokenizer(query)
        candidates = self._tokenizer(tf.boolean_mask(texts, given_BN))

        def step(first, end):
            packed, _ = pack(
                tf.gather(queries, query_of_K[first:end]),
                candidates[first:end],
                vocabulary=self.vocabulary,
                seq_length=self.spec.max_seq_length,
            )
            inputs = {name: x[:, tf.newaxis] for name, x in packed.items()}
            outputs = self._model(inputs, training=False)
            return [outputs[features.LOGITS][:, 0]]

        count = tf.cast(candidates.nrows(), tf.int32)
        (logits,) = map_in_chunks(step, count, [(None,)])
        logits_BN = tf.scatter_nd(
            indices_K2, logits, tf.shape(given_BN, tf.int64)
        )
        scores_BN = head.decode(logits_BN, self.spec.settings.activation)
        # By logits: a sigmoid makes high ones equal.
        last_BN = tf.where(given_BN, -logits_BN, float("inf"))
        order_BN = tf.argsort(last_BN, stable=True)
        return {
            SCORES: tf.where(given_BN, scores_BN, 0.0),
            ORDER: tf.where(given_BN, order_BN, -1),
        }

    def predict(self, *columns, **options):
        return super().predict(*_with_lists(columns), **options)

    predict.__doc__ = Predictor.predict.__doc__

    def num_truncated(self, *columns):
        return super().num_truncated(*_with_lists(columns))

    num_truncated.__doc__ = Predictor.num_truncated.__doc__

    def _groups(self, query, texts):
        return [(query, text) for text in texts]

    def _rows(self, outputs, columns):
        rows = zip(
            outputs[SCORES].tolist(),
            outputs[ORDER].tolist(),
            map(len, columns[1]),
            strict=True,
        )
        return [
            {SCORES: scores[:count], ORDER: order[:count]}
            for scores, order, count in rows
        ]


def _with_lists(columns):
    """The same, with a list of one text for a text of the second column."""
    if len(columns) != 2:
        return columns  # an error, which `predict` explains
    queries, texts = columns
    check_list(texts)
    one = (str, bytes)
    return queries, [[x] if isinstance(x, one) else x for x in texts]
