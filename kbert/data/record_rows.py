# SPDX-License-Identifier: Apache-2.0
"""Makes the rows of one record file, in chunks."""

import functools
import random
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.data import full_sentences, records, sentence_pairs
from kbert.data.documents import Corpus
from kbert.data.masking import mask_tokens
from kbert.data.record_options import RecordOptions
from kbert.data.record_statistics import Statistics
from kbert.text.packing import pack
from kbert.text.vocabulary import Vocabulary

PARTS = 1000  # the unit of a file's progress

# A seed's rows depend on these.
_GROUP_SENTENCES = 8192
_CHUNK_TOKENS = 1 << 18


class RecordRows:
    """Makes the rows of every n-th stretch of a corpus, in random order.

    Attributes:
        statistics: counts of the rows made so far.
        negatives: (sentences / 8,) uint8, a bit for each sentence of the
            corpus that starts a random next passage.

    Args:
        corpus: the whole text.
        vocabulary: the vocabulary of its tokens.
        options: the settings of the records.
        number: the number of this file.
        num_shards: n, the number of files.
    """

    def __init__(
        self,
        corpus: Corpus,
        vocabulary: Vocabulary,
        options: RecordOptions,
        *,
        number: int,
        num_shards: int,
    ):
        self.statistics = Statistics(options.max_seq_length)
        self.negatives = np.zeros(corpus.num_sentences // 8 + 1, np.uint8)
        self._corpus, self._vocabulary = corpus, vocabulary
        self._options, self._number = options, number
        self._stretches = corpus.stretches(number, num_shards)

    def serialized(
        self, report: Callable[[int], object]
    ) -> Iterator[tf.Tensor]:
        """Yields chunks of serialized rows.

        Args:
            report: called with the progress since the last call, in 1 / PARTS
                of the file.
        """
        finish = _row_finisher(self._vocabulary, self._options)
        groups = self._groups(report)
        options = self._options
        make = self._pairs if options.next_sentence else self._full_sentences
        first = self._number << 32
        for rows in make(groups):
            serialized, rows = finish(
                {n: tf.convert_to_tensor(v, tf.int32) for n, v in rows.items()},
                np.array([options.seed, first]),
            )
            rows = {name: value.numpy() for name, value in rows.items()}
            self.statistics.count(rows, self._vocabulary)
            first += len(rows["token_ids"])
            yield serialized

    def _groups(self, report):
        """Yields groups of stretches, each pass in another order."""
        options = self._options
        draw = random.Random(f"{options.seed} {self._number} order")
        lengths = self._stretches["end"] - self._stretches["first"]
        total, done, reported = int(lengths.sum()) * options.dupe_factor, 0, 0
        for _ in range(options.dupe_factor):
            u = np.array([draw.random() for _ in range(len(lengths))])
            order = np.argsort(u, kind="stable")
            ends = np.cumsum(lengths[order])
            splits = np.flatnonzero(np.diff(ends // _GROUP_SENTENCES)) + 1
            for indices in np.split(order, splits):
                yield self._stretches[indices]
                done += int(lengths[indices].sum())
                part = PARTS * done // total
                report(part - reported)
                reported = part

    def _pairs(self, groups):
        options, corpus = self._options, self._corpus
        packer = _pair_packer(self._vocabulary, options.max_seq_length)
        chunk_rows = max(1, _CHUNK_TOKENS // options.max_seq_length)
        for pairs in sentence_pairs.choose(
            corpus,
            groups,
            max_tokens=options.max_seq_length - 3,
            short_seq_prob=options.short_seq_prob,
            seed=f"{options.seed} {self._number}",
        ):
            at = pairs.random_sentence[pairs.random_sentence >= 0]
            bits = np.left_shift(1, at & 7).astype(np.uint8)
            np.bitwise_or.at(self.negatives, at >> 3, bits)
            self.statistics.counts["short"] += int(pairs.is_short.sum())
            self.statistics.counts["texts"] += len(pairs)
            for first in range(0, len(pairs), chunk_rows):
                chunk = pairs[first : first + chunk_rows]
                rows, truncated = packer(
                    *self._take(chunk.a_start, chunk.a_end),
                    *self._take(chunk.b_start, chunk.b_end),
                )
                self.statistics.counts["truncated"] += int(truncated)
                is_random = (chunk.random_sentence >= 0).astype(np.int32)
                yield rows | {features.NEXT_SENTENCE_LABELS: is_random}

    def _take(self, start, end):
        """Reads spans as values and lengths, each at most a row's tokens."""
        lengths = np.minimum(end - start, self._options.max_seq_length)
        return self._corpus.tokens(start.tolist(), lengths.tolist()), lengths

    def _full_sentences(self, groups):
        options, corpus = self._options, self._corpus
        chunk_rows = max(1, _CHUNK_TOKENS // options.max_seq_length)
        for texts in full_sentences.choose(
            corpus,
            groups,
            max_tokens=options.max_seq_length - 2,
            short_seq_prob=options.short_seq_prob,
            packed=options.packed,
            seed=f"{options.seed} {self._number}",
        ):
            self.statistics.counts["short"] += int(texts.is_short.sum())
            self.statistics.counts["texts"] += len(texts)
            for first in range(0, texts.num_rows, chunk_rows):
                yield full_sentences.fill(
                    corpus,
                    texts.of_rows(first, first + chunk_rows),
                    seq_length=options.max_seq_length,
                    vocabulary=self._vocabulary,
                )


@functools.lru_cache(maxsize=1)  # traced once in a process
def _pair_packer(vocabulary, seq_length):
    tokens = tf.TensorSpec([None], tf.int32)
    number_a_row = tf.TensorSpec([None], tf.int64)

    @tf.function(
        autograph=False,  # no Python control flow: saves seconds of tracing
        input_signature=[tokens, number_a_row, tokens, number_a_row],
    )
    def pack_pairs(a_ids, a_lengths, b_ids, b_lengths):
        rows, truncated = pack(
            tf.RaggedTensor.from_row_lengths(a_ids, a_lengths, validate=False),
            tf.RaggedTensor.from_row_lengths(b_ids, b_lengths, validate=False),
            vocabulary=vocabulary,
            seq_length=seq_length,
            pad_to=seq_length,
        )
        return rows, tf.math.count_nonzero(truncated)

    return pack_pairs


@functools.lru_cache(maxsize=1)
def _row_finisher(vocabulary, options):
    """Returns a function that serializes rows, masked if `options.masked`."""
    tokens = tf.TensorSpec([None, options.max_seq_length], tf.int32)
    specs: dict[str, tf.TensorSpec] = {}
    specs |= dict.fromkeys(features.ENCODER_INPUTS, tokens)
    if options.next_sentence:
        labels = tf.TensorSpec([None], tf.int32)
        specs[features.NEXT_SENTENCE_LABELS] = labels

    @tf.function(
        autograph=False,
        input_signature=[specs, tf.TensorSpec([2], tf.int64)],
    )
    def finish(rows, seed):
        rows = dict(rows)
        if options.masked:
            rows |= mask_tokens(
                rows["token_ids"],
                rows["padding_mask"],
                vocabulary=vocabulary,
                masking=options.masking,
                seed=seed,
            )
        return records.serialize(rows), rows

    return finish
