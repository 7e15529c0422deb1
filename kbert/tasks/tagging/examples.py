# SPDX-License-Identifier: Apache-2.0
"""Sentences of words with a tag each, long ones split into windows."""

import itertools
from collections.abc import Sequence

import tensorflow as tf

from kbert import features
from kbert.data import batching
from kbert.data.batching import Examples
from kbert.text import alignment, windows
from kbert.text.packing import pack
from kbert.text.tokenizer import Tokenizer


def examples(
    words: Sequence[Sequence[str]],
    tags: Sequence[Sequence[int]],
    *,
    tokenizer: Tokenizer,
    max_seq_length: int,
    stride: int,
) -> Examples:
    """Tokenizes sentences once, for all epochs.

    A word's tag is the label of its first token, in the window that shows it
    with the most context, and its other tokens have none (Devlin et al. 2019,
    arXiv:1810.04805, section 5.3). A word of which cleaning leaves nothing
    is not learnt.

    Args:
        words: of each sentence.
        tags: as many numbers.
        tokenizer: of the words.
        max_seq_length: most tokens of a window.
        stride: tokens between the starts of a sentence's windows.
    Returns: a row for each window; none is truncated.
    """
    lengths = tf.constant([len(row) for row in words], tf.int64)

    def ragged(rows, dtype):
        flat = tf.constant(list(itertools.chain(*rows)), dtype)
        return tf.RaggedTensor.from_row_lengths(flat, lengths)

    def tokenize(columns):
        ids, word_of = alignment.tokenize_words(columns["words"], tokenizer)
        labels = alignment.label_first_subwords(columns["tags"], word_of)
        indices = ids.with_values(tf.range(tf.size(ids.values)))
        cut = windows.sliding_windows(
            indices, length=max_seq_length - 2, stride=stride
        )
        ids = tf.gather(ids.values, cut.ids.values)
        labels = tf.gather(labels.values, cut.ids.values)
        labels = tf.where(cut.best.values, labels, alignment.NO_LABEL)
        return {
            "ids": cut.ids.with_values(ids),
            "labels": cut.ids.with_values(labels),
        }

    parts = batching.map_in_chunks(
        {"words": ragged(words, tf.string), "tags": ragged(tags, tf.int32)},
        tokenize,
    )

    def to_batch(rows):
        inputs, _ = pack(
            rows["ids"],
            vocabulary=tokenizer.vocabulary,
            seq_length=max_seq_length,
        )
        labels = rows["labels"].to_tensor(alignment.NO_LABEL)
        labels = tf.pad(  # [CLS] and the longest row's [SEP]
            labels, [[0, 0], [1, 1]], constant_values=alignment.NO_LABEL
        )
        counted = labels != alignment.NO_LABEL
        return (
            inputs,
            {features.LOGITS: tf.where(counted, labels, 0)},
            {features.LOGITS: batching.token_weights(counted)},
        )

    return Examples(
        parts=parts,
        lengths=tf.cast(parts["ids"].row_lengths(), tf.int32) + 2,
        to_batch=to_batch,
    )
