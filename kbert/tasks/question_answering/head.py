# SPDX-License-Identifier: Apache-2.0
"""Answers that are spans of a paragraph: SQuAD 1.1 and 2.0, one or several."""

from typing import Any, NamedTuple

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.models import encode
from kbert.tasks.element_losses import BinaryCrossentropy
from kbert.tasks.heads import Head, dense
from kbert.tasks.question_answering.settings import Settings

_MASKED = -1e9  # the logit of tokens that no answer may contain


def build_question_answerer(config: BertConfig) -> keras.Model:
    """An encoder with a start and an end vector on its sequence output.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32, of rows
        [CLS] question [SEP] paragraph [SEP].
    Outputs: logits (B, 2, S) float32, where an answer starts and where its
        last token is. They are -1e9 but for the paragraph's tokens and [CLS],
        which stands for no answer in this row. As in the published code there
        is no dropout before the vectors.
    Source: Devlin et al. 2019, arXiv:1810.04805, sections 4.2 and 4.3.
    """
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    sequence = encode(config, inputs).sequence
    logits_BS2 = dense(config, sequence, 2, "question_answerer")
    in_paragraph = paragraph_tokens(
        inputs["segment_ids"], inputs["padding_mask"]
    )
    is_cls = ops.ones_like(in_paragraph[:, :1])
    may_answer = ops.concatenate([is_cls, in_paragraph[:, 1:]], axis=1)
    logits = ops.where(
        ops.expand_dims(may_answer, 1),
        ops.transpose(logits_BS2, (0, 2, 1)),
        _MASKED,
    )
    outputs = {features.LOGITS: logits}
    return keras.Model(inputs, outputs, name="question_answerer")


def paragraph_tokens(segment_ids, padding_mask):
    """Which tokens are segment 1 without the [SEP] that ends it.

    Both are (B, S) int, and so is what comes back, of bool.
    """
    is_token = ops.not_equal(padding_mask, 0)
    has_next = ops.concatenate(
        [is_token[:, 1:], ops.zeros_like(is_token[:, :1])], axis=1
    )
    in_second = ops.equal(segment_ids, 1)
    return ops.logical_and(in_second, ops.logical_and(is_token, has_next))


def losses(several_answers: bool = False) -> dict[str, keras.losses.Loss]:
    """Half the sum of the start's and the end's cross-entropy.

    Labels are (B, 2) int32, the positions of the first and the last token, 0
    for no answer in the row. With several answers they are (B, 2, S), 0 or 1,
    the loss is that of each element, and weights leave the paragraph's tokens.
    """
    if several_answers:
        return {features.LOGITS: BinaryCrossentropy()}
    return {
        features.LOGITS: keras.losses.SparseCategoricalCrossentropy(
            from_logits=True
        )
    }


def metrics(
    several_answers: bool = False,
) -> dict[str, list[keras.metrics.Metric]]:
    """The share of starts and ends that are right; of several, none."""
    if several_answers:
        return {features.LOGITS: []}
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="place_accuracy")
    return {features.LOGITS: [accuracy]}


class Spans(NamedTuple):
    """The best spans of each row, the best first.

    Attributes:
        first: (B, K) int32, their first tokens.
        last: (B, K) int32, their last tokens, which belong to them.
        score: (B, K) float32, start logit plus end logit.
        exists: (B, K) bool, whether there are so many; those that do not
            are 0, 0 and -1e9.
    """

    first: Any
    last: Any
    score: Any
    exists: Any


def decode(start, end, allowed, *, max_answer_length: int, count: int) -> Spans:
    """The spans with the highest sums of start and end logit.

    All pairs are compared, those of the best starts and the best ends alone
    in google-research/bert's run_squad.py. Of equal ones the first start, then
    the first end comes first.

    Args:
        start: (B, N) float, the logits of tokens to be an answer's first.
        end: (B, N) float, to be its last.
        allowed: (B, N) bool, the paragraph's tokens, which are adjacent.
        max_answer_length: most tokens of a span.
        count: K.
    """
    start = ops.where(allowed, start, _MASKED)
    end = ops.where(allowed, end, _MASKED)
    score_BNL = ops.expand_dims(start, 2) + _ahead(
        end, max_answer_length, _MASKED
    )
    batch, size = ops.shape(start)
    flat = ops.reshape(score_BNL, (batch, size * max_answer_length))
    flat = ops.pad(flat, ((0, 0), (0, count)), constant_values=2 * _MASKED)
    score, index = ops.top_k(flat, count)
    exists = score > _MASKED / 2
    score = ops.where(exists, score, _MASKED)
    index = ops.where(exists, ops.cast(index, "int32"), 0)
    first = index // max_answer_length
    return Spans(first, first + index % max_answer_length, score, exists)


def probabilities(spans: Spans, no_answer=None):
    """A softmax over the best spans, and over no answer if it may be.

    As in google-research/bert's run_squad.py.

    Args:
        spans: K of each row.
        no_answer: (B,) float, [CLS]'s start logit plus its end logit, or
            None.
    Returns: (B, K) float32, 0 where there is no span, and (B,) float32.
    """
    score = spans.score
    if no_answer is None:
        no_answer = ops.full_like(score[:, 0], 2 * _MASKED)
    score = ops.concatenate([score, ops.expand_dims(no_answer, 1)], axis=1)
    share = ops.softmax(score)
    return ops.where(spans.exists, share[:, :-1], 0.0), share[:, -1]


def decode_several(
    start, end, allowed, *, max_answer_length: int, threshold: float
):
    """All spans that are probable enough and do not overlap.

    A span's probability is that of its start times that of its end. Of two
    adjacent answers the first one's start and the second one's end are
    probable too: a span that begins with one probable span and ends with
    another, which do not overlap, is none. Of those left the most probable is
    taken, then the most probable that does not overlap it, and so on; of
    equal ones the first start, then the first end.

    Example: answers at tokens 1 to 2 and 4 to 5. Probable are (1, 2), (4, 5)
    and (1, 5), of which the last begins and ends with the other two.

    Args:
        start: (B, N) float, the logits of tokens to be an answer's first.
        end: (B, N) float, to be its last.
        allowed: (B, N) bool, the paragraph's tokens, which are adjacent.
        max_answer_length: most tokens of a span.
        threshold: the lowest probability of an answer, above 0.
    Returns: last (B, N) int32, the last token of the answer that starts at
        each token, or -1; and its probability (B, N) float32, or 0.
    """
    span = max_answer_length
    start = ops.where(allowed, ops.sigmoid(ops.cast(start, "float32")), 0.0)
    end = ops.where(allowed, ops.sigmoid(ops.cast(end, "float32")), 0.0)
    probable_BNL = ops.expand_dims(start, 2) * _ahead(end, span, 0.0)
    backwards_BNL = ops.expand_dims(end, 2) * _behind(start, span, 0.0)
    position_N = ops.arange(ops.shape(start)[1], dtype="int32")
    nearest_end = position_N + _first_true(probable_BNL >= threshold)
    nearest_start = position_N - _first_true(backwards_BNL >= threshold)
    holds_two = ops.expand_dims(nearest_end, 2) < _ahead(nearest_start, span, 0)
    is_answer = ops.logical_and(
        probable_BNL >= threshold, ops.logical_not(holds_two)
    )
    return _without_overlap(ops.where(is_answer, probable_BNL, 0.0))


def _without_overlap(probability_BNL):
    """Takes the best span, then the best that does not overlap it, and so on.

    A step compares one number of each token and looks again only at the spans
    near the one that it takes: a text may have 100,000 answers.

    Args:
        probability_BNL: of the span from each token to each of the next L,
            itself included; 0 where there is none.
    Returns: as `decode_several`.
    """
    batch, size, span = ops.shape(probability_BNL)
    position_N = ops.arange(size, dtype="int32")
    row_B1 = ops.expand_dims(ops.arange(batch, dtype="int32") * size, 1)
    length_L = ops.arange(span, dtype="int32")
    near_W = ops.arange(1 - span, span, dtype="int32")

    def left(index_BW, free_BN):
        """(B, W, L): the spans from some tokens on that overlap no answer."""
        index_BW = index_BW + row_B1
        free_BW = ops.take(ops.reshape(free_BN, (-1,)), index_BW)
        spans = ops.reshape(probability_BNL, (batch * size, span))
        is_free = length_L < ops.expand_dims(free_BW, 2)
        return ops.where(is_free, ops.take(spans, index_BW, axis=0), 0.0)

    def take_best(best_BN, free_BN, last_BN, probability_BN):
        first_B1 = ops.argmax(best_BN, axis=1, keepdims=True)
        first_B1 = ops.cast(first_B1, "int32")
        length_B1 = ops.argmax(left(first_B1, free_BN), axis=2)
        end_B1 = first_B1 + ops.cast(length_B1, "int32")
        here = ops.logical_and(position_N == first_B1, best_BN > 0)
        before = ops.maximum(first_B1 - position_N, 0)
        free_BN = ops.minimum(
            free_BN, ops.where(position_N > end_B1, span, before)
        )
        near_BW = ops.clip(first_B1 + near_W, 0, size - 1)
        now_BW = ops.max(left(near_BW, free_BN), axis=2)
        index = ops.reshape(near_BW + row_B1, (-1, 1))
        flat = ops.scatter_update(
            ops.reshape(best_BN, (-1,)), index, ops.reshape(now_BW, (-1,))
        )
        return (
            ops.reshape(flat, (batch, size)),
            free_BN,
            ops.where(here, end_B1, last_BN),
            ops.where(here, best_BN, probability_BN),
        )

    _, _, last, probability = ops.while_loop(
        lambda best_BN, *_: ops.any(best_BN > 0),
        take_best,
        (
            ops.max(probability_BNL, axis=2),
            ops.full((batch, size), span, dtype="int32"),
            ops.full((batch, size), -1, dtype="int32"),
            ops.zeros((batch, size), dtype="float32"),
        ),
    )
    return last, probability


def _ahead(values_BN, span: int, fill):
    """(B, N, L): of each token, its own value and those of the next ones."""
    padded = ops.pad(values_BN, ((0, 0), (0, span - 1)), constant_values=fill)
    return ops.take(padded, _band(values_BN, span), axis=1)


def _behind(values_BN, span: int, fill):
    """(B, N, L): of each token, its own value and those before, backwards."""
    padded = ops.pad(values_BN, ((0, 0), (span - 1, 0)), constant_values=fill)
    return ops.flip(ops.take(padded, _band(values_BN, span), axis=1), axis=2)


def _band(values_BN, span):
    position_N1 = ops.expand_dims(ops.arange(ops.shape(values_BN)[1]), 1)
    return position_N1 + ops.arange(span)


def _first_true(is_BNL):
    """(B, N) int32, the first index along the last axis; where none, many."""
    index = ops.cast(ops.argmax(ops.cast(is_BNL, "int32"), axis=2), "int32")
    return ops.where(ops.any(is_BNL, axis=2), index, 1 << 30)


HEAD = Head(
    build=lambda config, spec: build_question_answerer(config),
    losses=lambda spec: losses(spec.settings.several_answers),
    metrics=lambda spec: metrics(spec.settings.several_answers),
    settings=Settings,
    has_pairs=True,
    num_texts=2,
    # As published, 128 of 384: windows overlap by half their length or more,
    # unless a long question leaves them little room.
    default_settings=lambda length: {"stride": max(1, length // 3)},
)
