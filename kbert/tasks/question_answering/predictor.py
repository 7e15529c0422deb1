# SPDX-License-Identifier: Apache-2.0
"""Questions about texts of any length to slices of them."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kbert import features
from kbert.tasks.chunks import map_in_chunks
from kbert.tasks.predictor import Column, Predictor
from kbert.tasks.question_answering import head
from kbert.text.alignment import character_offsets
from kbert.text.packing import pack
from kbert.text.windows import Windows, question_windows

_BEST = 20  # spans of the n-best list, as in run_squad.py

# Names in the signature, which clients see.
ANSWER, START, END, SCORE = "answer", "start", "end", "score"
NO_ANSWER_SCORE = "no_answer_score"
NO_ANSWER_PROBABILITY = "no_answer_probability"
ANSWERS, STARTS, ENDS = "answers", "starts", "ends"
BYTE_STARTS, BYTE_ENDS = "byte_starts", "byte_ends"
PROBABILITIES, COUNT = "probabilities", "count"


class QuestionPredictor(Predictor):
    """Answers questions with slices of their contexts.

    A context that is too long for a row is read in overlapping windows, and
    each token in the one that shows it most context: its logits there are
    the token's for the whole context. At most 32 windows go through the
    encoder at once, whatever there is in a batch.

    Call: question (B,) string, context (B,) string -> by name
        answers (B, K) string: the best spans, the best first, slices of the
            context; starts, ends (B, K) int32: the characters that they are
            of, [start, end); byte_starts, byte_ends (B, K) int32: the bytes;
            probabilities (B, K) float32, a softmax over them, and over no
            answer where the task has that; count (B,) int32: how many there
            are, the others are "" and 0;
        answer (B,) string, start, end (B,) int32: the best, or "", 0 and 0
            for none; score (B,) float32: its start logit plus its end logit;
        no_answer_score (B,) float32: [CLS]'s start logit plus its end logit
            in the window where that is least, minus the best span's; above
            the threshold there is no answer, where the task has that;
        no_answer_probability (B,) float32.
        With several answers: answers, starts, ends, byte_starts, byte_ends,
        probabilities and count alone, of all answers in their order, each
        probability its own.
    A context without tokens has no answer, and 1e9 for no_answer_score.
    `predict` gives for each row {"answer": text, "start", "end", "score",
        "no_answer_score", "answers": [{"text", "start", "end",
        "probability"}, ...]}, positions in characters; with several answers
        the last alone.
    """

    text_inputs = ("question", "context")

    def __init__(self, model, *, vocabulary, spec):
        super().__init__(model, vocabulary=vocabulary, spec=spec)
        self._settings = spec.settings

    def predict(
        self,
        *columns: Column,
        batch_size: int = 32,
        progress: Callable[[int, int], Any] = lambda done, total: None,
        n_best: int = _BEST,
    ) -> list[dict[str, Any]]:
        """As `Predictor.predict`, with "answers" of at most `n_best`.

        The probabilities are those among the 20 best, whatever `n_best` is.

        Raises: ValueError as there, or for an `n_best` that is not from 1 to
            20 or of a model for several answers, which has no such list.
        """
        if n_best != _BEST and self._settings.several_answers:
            raise ValueError(
                f"n_best is {n_best}: the model gives all answers above its "
                "threshold."
            )
        if not 1 <= n_best <= _BEST:
            raise ValueError(f"n_best is {n_best}; needs 1 to {_BEST}.")
        rows = super().predict(
            *columns, batch_size=batch_size, progress=progress
        )
        if self._settings.several_answers:
            return rows
        return [{**row, ANSWERS: row[ANSWERS][:n_best]} for row in rows]

    def _outputs(self, *texts):
        question, context = texts
        ids, starts, ends = self._tokenizer.with_spans(context)
        questions, windows = question_windows(
            self._tokenizer(question),
            ids,
            seq_length=self.spec.max_seq_length,
            max_query_length=self._settings.max_query_length,
            stride=self._settings.stride,
        )
        logits_W, no_answer_W = self._window_logits(questions, windows)
        no_answer_B = tf.math.unsorted_segment_min(
            no_answer_W, windows.row, ids.nrows()
        )
        merged = ids.with_flat_values(_merged(ids, windows, logits_W))
        # A token more, which is none: there are some of the longest row.
        logits_BN2 = tf.pad(merged.to_tensor(), [[0, 0], [0, 1], [0, 0]])
        start, end = logits_BN2[:, :, 0], logits_BN2[:, :, 1]
        allowed = tf.sequence_mask(ids.row_lengths(), tf.shape(start)[1])
        spans = _Texts(context, starts, ends)
        if self._settings.several_answers:
            return self._several(start, end, allowed, spans)
        return self._best(start, end, allowed, no_answer_B, spans)

    def _window_logits(self, questions, windows: Windows):
        """The encoder's, of some windows at a time.

        Returns: start and end logits of all windows' tokens, one window
            after the other (T, 2); (W,) the sums of [CLS]'s.
        """

        def step(first, end):
            inputs, _ = pack(
                tf.gather(questions, windows.row[first:end]),
                windows.ids[first:end],
                vocabulary=self.vocabulary,
                seq_length=self.spec.max_seq_length,
            )
            logits = self._model(inputs, training=False)[features.LOGITS]
            in_paragraph = head.paragraph_tokens(
                inputs["segment_ids"], inputs["padding_mask"]
            )
            found = tf.boolean_mask(
                tf.transpose(logits, (0, 2, 1)), in_paragraph
            )
            return found, tf.reduce_sum(logits[:, :, 0], 1)

        return map_in_chunks(step, tf.size(windows.row), [(None, 2), (None,)])

    def _best(self, start, end, allowed, no_answer, spans):
        best = head.decode(
            start,
            end,
            allowed,
            max_answer_length=self._settings.max_answer_length,
            count=_BEST,
        )
        may_have_none = self._settings.no_answer
        probabilities, none = head.probabilities(
            best, no_answer if may_have_none else None
        )
        no_answer_score = no_answer - best.score[:, 0]
        answered = best.exists[:, 0]
        if may_have_none:
            answered &= no_answer_score <= self._settings.threshold
        found = spans.cut(best.first, best.last, best.exists)
        return {
            ANSWER: tf.where(answered, found[ANSWERS][:, 0], ""),
            START: tf.where(answered, found[STARTS][:, 0], 0),
            END: tf.where(answered, found[ENDS][:, 0], 0),
            SCORE: best.score[:, 0],
            NO_ANSWER_SCORE: no_answer_score,
            NO_ANSWER_PROBABILITY: none,
            PROBABILITIES: probabilities,
            **found,
        }

    def _several(self, start, end, allowed, spans):
        last, probability = head.decode_several(
            start,
            end,
            allowed,
            max_answer_length=self._settings.max_answer_length,
            threshold=self._settings.threshold,
        )
        is_first = last >= 0
        first = tf.zeros_like(last) + tf.range(tf.shape(last)[1])
        first, last, probability = (
            tf.ragged.boolean_mask(x, is_first).to_tensor()
            for x in (first, last, probability)
        )
        found = spans.cut(first, last, probability > 0)
        return {**found, PROBABILITIES: probability}

    def _groups(self, question, context):
        return [(question,)]  # a context is read in windows

    @property
    def _room(self):
        return self._settings.max_query_length

    def _rows(self, outputs, columns):
        names = (ANSWERS, STARTS, ENDS, PROBABILITIES)
        several = self._settings.several_answers
        rows = []
        for row, count in enumerate(outputs[COUNT]):
            best = zip(
                *(outputs[name][row][:count].tolist() for name in names),
                strict=True,
            )
            listed = [
                {"text": text.decode(), START: a, END: b, "probability": p}
                for text, a, b, p in best
            ]
            found = {} if several else {ANSWER: outputs[ANSWER][row].decode()}
            for name in () if several else (START, END, SCORE, NO_ANSWER_SCORE):
                found[name] = outputs[name][row].item()
            rows.append({**found, ANSWERS: listed})
        return rows


def _merged(ids, windows: Windows, logits_T2):
    """The logits of all rows' tokens, each from its best window."""
    first_W = windows.start + tf.gather(
        tf.cast(ids.row_starts(), tf.int32), windows.row
    )
    length_W = tf.cast(windows.ids.row_lengths(), tf.int32)
    token_T = tf.ragged.range(first_W, first_W + length_W).values
    is_best_T = windows.best.values
    return tf.scatter_nd(
        tf.boolean_mask(token_T, is_best_T)[:, tf.newaxis],
        tf.boolean_mask(logits_T2, is_best_T),
        (tf.size(ids.flat_values), 2),
    )


class _Texts:
    """Slices of texts, from token to token.

    Args:
        texts: (B,) string.
        starts: (B, None) int32, the bytes where their tokens begin.
        ends: (B, None) int32, and end.
    """

    def __init__(self, texts, starts, ends):
        self._texts = texts
        # One more token, so that a row without tokens has one.
        self._starts, self._ends = (
            tf.pad(x.to_tensor(), [[0, 0], [0, 1]]) for x in (starts, ends)
        )

    def cut(self, first, last, exists) -> dict[str, tf.Tensor]:
        """The signature's outputs of spans, each (B, K), padded with ""."""
        starts = tf.gather(self._starts, first, batch_dims=1)
        ends = tf.gather(self._ends, last, batch_dims=1)
        starts, ends = (tf.where(exists, x, 0) for x in (starts, ends))
        slices = tf.strings.substr(
            self._texts[:, tf.newaxis], starts, ends - starts
        )
        return {
            # Bytes that are not UTF-8 become U+FFFD: JSON cannot have them.
            ANSWERS: tf.strings.unicode_transcode(slices, "UTF-8", "UTF-8"),
            STARTS: self._characters(starts),
            ENDS: self._characters(ends),
            BYTE_STARTS: starts,
            BYTE_ENDS: ends,
            COUNT: tf.reduce_sum(tf.cast(exists, tf.int32), 1),
        }

    def _characters(self, offsets):
        ragged = tf.RaggedTensor.from_tensor(offsets)
        counted = character_offsets(self._texts, ragged)
        return tf.reshape(counted.flat_values, tf.shape(offsets))
