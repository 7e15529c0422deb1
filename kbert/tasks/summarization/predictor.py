# SPDX-License-Identifier: Apache-2.0
"""The sentences of documents to those that say the most."""

from types import MappingProxyType

import tensorflow as tf

from kbert import features
from kbert.tasks.chunks import map_in_chunks
from kbert.tasks.predictor import (
    Predictor,
    check_counts,
    no_wider_than_full,
    readable,
)
from kbert.tasks.summarization import head
from kbert.text.sentences import (
    is_sentence,
    sentence_features,
    sentence_rows,
)

# Names in the signature, which clients see.
SENTENCES, NUM_SENTENCES = "sentences", "num_sentences"
SCORES = "scores"
BEST = "best"


class SummarizationPredictor(Predictor):
    """Chooses the best sentences of a document.

    Call: sentences (B, N) string, num_sentences (B,) int32, how many a
        document has -> {"scores": (B, N) float32, how probably
        each is of the summary; "best": (B, k) int32, the indices of the k
        best, from 0, in their order, and -1 where there are no more}.
        A string that is empty or of white space is no sentence, at any
        index: its score is 0 and it is never chosen. A document of any
        length is read as a whole, in rows; a sentence that is longer than a
        row is truncated.
    `predict` gives for each document {"summary": the chosen sentences,
        "sentences": their indices, "scores": those of all sentences}.
    """

    text_inputs = (SENTENCES,)
    several = (SENTENCES,)
    counts = MappingProxyType({SENTENCES: NUM_SENTENCES})

    def _outputs(self, *inputs):
        sentences, counts_B = inputs
        sentences = no_wider_than_full(sentences)
        with tf.control_dependencies(
            check_counts(counts_B, sentences, NUM_SENTENCES)
        ):
            counted_BN = tf.sequence_mask(counts_B, tf.shape(sentences)[1])
        given_BN = is_sentence(sentences) & counted_BN
        kept = tf.ragged.boolean_mask(sentences, given_BN)
        rows = sentence_rows(
            kept.with_values(self._tokenizer(kept.values)),
            vocabulary=self.vocabulary,
            seq_length=self.spec.max_seq_length,
        )

        def step(first, end):
            positions = rows.positions[first:end]
            inputs = sentence_features(
                rows.ids[first:end], positions, vocabulary=self.vocabulary
            )
            logits_RP = self._model(inputs, training=False)[features.LOGITS]
            is_sentence_RP = tf.sequence_mask(
                positions.row_lengths(), tf.shape(logits_RP)[1]
            )
            return [tf.boolean_mask(logits_RP, is_sentence_RP)]

        num_rows = tf.cast(rows.ids.nrows(), tf.int32)
        (logits,) = map_in_chunks(step, num_rows, [(None,)])
        # Those of all sentences in their order, back to their indices.
        logits_BN = tf.scatter_nd(
            tf.where(given_BN),
            logits,
            tf.shape(given_BN, out_type=tf.int64),
        )
        scores, best = head.decode(
            logits_BN, given_BN, self.spec.settings.num_sentences
        )
        return {SCORES: scores, BEST: best}

    def _groups(self, sentences):
        return [(sentence,) for sentence in sentences]

    def _rows(self, outputs, columns):
        rows = zip(
            outputs[BEST].tolist(),
            outputs[SCORES].tolist(),
            columns[0],
            strict=True,
        )
        found = []
        for indices, numbers, sentences in rows:
            indices = [index for index in indices if index >= 0]
            summary = [readable(sentences[index]) for index in indices]
            found.append(
                {
                    "summary": summary,
                    SENTENCES: indices,
                    SCORES: numbers[: len(sentences)],
                }
            )
        return found
