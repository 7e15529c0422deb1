# SPDX-License-Identifier: Apache-2.0
"""Questions with marked answers to windows that a model is trained on."""

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.data import batching
from kbert.data.batching import Examples
from kbert.tasks.question_answering import squad
from kbert.tasks.question_answering.squad import Questions
from kbert.text.packing import pack
from kbert.text.tokenizer import Tokenizer
from kbert.text.windows import question_windows


def examples(
    questions: Questions,
    *,
    tokenizer: Tokenizer,
    max_seq_length: int,
    max_query_length: int,
    stride: int,
    several_answers: bool,
    whole_words: bool = False,
) -> Examples:
    """Tokenizes questions and splits their contexts, once for all epochs.

    Each window is a row. Its labels are (2,) int32, the positions of the
    first and the last token of the question's first answer, or 0 and 0 for
    [CLS] where the window does not hold all of it (google-research/bert,
    run_squad.py). With several answers they are (2, S) float32, 1 where any
    answer in it starts and where it ends, and the paragraph's tokens alone
    count.

    Args:
        questions: with answers.
        tokenizer: of the texts.
        max_seq_length: most tokens of a row.
        max_query_length: most tokens of a question; longer ones are
            truncated.
        stride: tokens from one window's start to the next one's.
        several_answers: whether all answers count, or the first.
        whole_words: whether an answer that begins or ends inside a word is
            learnt with all of the word: see `squad.whole_words`.
    Raises: ValueError if a question may leave no room for a context.
    """

    def cut(columns):
        tokens = tokenizer(columns["question"])
        ids, starts, ends = tokenizer.with_spans(columns["context"])
        kept, windows = question_windows(
            tokens,
            ids,
            seq_length=max_seq_length,
            max_query_length=max_query_length,
            stride=stride,
        )
        first, last = token_spans(
            starts, ends, columns["answer_start"], columns["answer_end"]
        )
        first, last = (tf.gather(x, windows.row) for x in (first, last))
        question = tf.gather(kept, windows.row)
        window = first.value_rowids()  # of each answer there
        start, size, before = (
            tf.gather(tf.cast(x, tf.int32), window)
            for x in (
                windows.start,
                windows.ids.row_lengths(),
                question.row_lengths() + 2,  # [CLS] question [SEP]
            )
        )
        first, last = first.values - start, last.values - start
        held = (first >= 0) & (first <= last) & (last < size)

        def held_positions(positions):
            return tf.RaggedTensor.from_value_rowids(
                tf.boolean_mask(positions + before, held),
                tf.boolean_mask(window, held),
                windows.ids.nrows(),
            )

        return {
            "question": question,
            "window": windows.ids,
            "first": held_positions(first),
            "last": held_positions(last),
            "truncated": tf.cast(
                tokens.row_lengths() > kept.row_lengths(), tf.int32
            ),
        }

    # AutoGraph finds nothing to do in it, which takes seconds.
    cut = tf.autograph.experimental.do_not_convert(cut)
    parts = batching.map_in_chunks(
        _columns(questions, several_answers, whole_words), cut
    )
    truncated = parts.pop("truncated")
    lengths = parts["question"].row_lengths() + parts["window"].row_lengths()

    def to_batch(rows):
        inputs, _ = pack(
            rows["question"],
            rows["window"],
            vocabulary=tokenizer.vocabulary,
            seq_length=max_seq_length,
        )
        spans = rows["first"], rows["last"]
        if not several_answers:  # one or none
            labels = [tf.reduce_sum(positions, 1) for positions in spans]
            return inputs, {features.LOGITS: tf.stack(labels, 1)}
        shape = tf.shape(inputs["token_ids"])
        labels = [_indicators(positions, shape) for positions in spans]
        size = tf.cast(rows["window"].row_lengths(), tf.int32)[:, tf.newaxis]
        first = tf.cast(rows["question"].row_lengths(), tf.int32) + 2
        index = tf.range(shape[1]) - first[:, tf.newaxis]
        weights = batching.token_weights((index >= 0) & (index < size))
        return (
            inputs,
            {features.LOGITS: tf.stack(labels, 1)},
            {features.LOGITS: tf.stack([weights, weights], 1)},
        )

    return Examples(
        parts=parts,
        lengths=tf.cast(lengths, tf.int32) + 3,
        to_batch=to_batch,
        num_truncated=int(tf.reduce_sum(truncated)),
    )


def token_spans(
    starts: tf.RaggedTensor,
    ends: tf.RaggedTensor,
    begin: tf.RaggedTensor,
    stop: tf.RaggedTensor,
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """The tokens that share a byte with each of some spans of texts.

    Example: tokens at bytes 0 to 3, 4 to 7 and 7 to 10; the span 5 to 10 is
    tokens 1 to 2, the span 3 to 4 is 1 to 0: none.

    Args:
        starts: (B, None) int32, the bytes where the tokens begin.
        ends: (B, None) int32, and end.
        begin: (B, None) int32, the bytes where the spans begin.
        stop: (B, None) int32, and end.
    Returns: first and last, each (B, None) int32 like the spans, the
        positions of the tokens in their rows; last is before first where there
        is none.
    """

    def before(tokens, bytes, side):
        """For each span how many of its row's tokens are before a byte."""
        count = tf.searchsorted(_in_all(tokens), _in_all(bytes), side=side)
        row = tf.gather(tokens.row_starts(), bytes.value_rowids())
        return bytes.with_values(count - tf.cast(row, tf.int32))

    first = before(ends, begin, "right")
    return first, before(starts, stop, "left") - 1


def _in_all(positions: tf.RaggedTensor) -> tf.Tensor:
    """One number for each, those of later rows above those before."""
    row = positions.value_rowids()
    return row * (1 << 32) + tf.cast(positions.values, tf.int64)


def _indicators(positions, shape):
    """(B, S) float32, 1 at each row's positions, which may repeat."""
    rows = tf.cast(positions.value_rowids(), tf.int32)
    at = tf.stack([rows, positions.values], 1)
    counts = tf.scatter_nd(at, tf.ones_like(positions.values), shape)
    return tf.cast(counts > 0, tf.float32)


def _columns(
    questions: Questions, several_answers: bool, whole_words: bool = False
) -> dict:
    """The texts, and the bytes where the answers are."""
    starts, ends = [], []
    for context, answers in zip(
        questions.contexts, questions.answers, strict=True
    ):
        used = answers if several_answers else answers[:1]
        if whole_words:
            used = [squad.whole_words(context, answer) for answer in used]
        if several_answers:
            used = sorted(set(used))
        begins = [len(context[: x.start].encode()) for x in used]
        sizes = [len(x.text.encode()) for x in used]
        starts.append(begins)
        ends.append([a + n for a, n in zip(begins, sizes, strict=True)])
    return {
        "question": tf.constant(questions.questions),
        "context": tf.constant(questions.contexts),
        "answer_start": _ragged(starts),
        "answer_end": _ragged(ends),
    }


def _ragged(rows) -> tf.RaggedTensor:
    values = np.array([x for row in rows for x in row], np.int32)
    return tf.RaggedTensor.from_row_lengths(values, [len(row) for row in rows])
