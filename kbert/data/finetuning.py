# SPDX-License-Identifier: Apache-2.0
"""Labelled texts to batches for a classifier."""

import dataclasses

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.data.tables import Rows
from kbert.text.packing import pack
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import Vocabulary

_ROWS_AT_ONCE = 1024  # to tokenize
_WINDOW = 50  # batches whose rows are sorted by length; a seed's order
_ORDER, _BATCHES = 0, 1  # what an epoch draws


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """Tokenized rows, compact in memory, in the order of the table.

    Attributes:
        texts: one or two (rows, None) int32, without special tokens and none
            longer than max_seq_length.
        labels: (rows,) int32.
        lengths: (rows,) int32, tokens of a row once packed.
        cut: how many rows lose tokens to max_seq_length.
    """

    texts: tuple[tf.RaggedTensor, ...]
    labels: tf.Tensor
    lengths: tf.Tensor
    cut: int
    vocabulary: Vocabulary
    max_seq_length: int

    def __len__(self) -> int:
        """The number of rows."""
        return int(self.labels.shape[0])


def tokenized(
    rows: Rows,
    label_ids: np.ndarray,
    *,
    tokenizer: Tokenizer,
    max_seq_length: int,
) -> Examples:
    """Tokenizes a table once, for all epochs."""
    columns = tuple(tf.constant(texts, tf.string) for texts in rows.texts)

    def tokenize(*texts):
        tokens = [tokenizer(text) for text in texts]
        uncut = tf.add_n([t.row_lengths() for t in tokens])
        return tuple(t[:, :max_seq_length] for t in tokens), uncut

    chunks = tf.data.Dataset.from_tensor_slices(columns).batch(_ROWS_AT_ONCE)
    chunks = chunks.map(tokenize, num_parallel_calls=tf.data.AUTOTUNE)
    tokens, uncut = zip(*chunks, strict=True)
    special = 1 + len(columns)  # [CLS] and a [SEP] after each text
    lengths = tf.cast(tf.concat(uncut, 0), tf.int32) + special
    return Examples(
        texts=tuple(tf.concat(t, 0) for t in zip(*tokens, strict=True)),
        labels=tf.constant(label_ids, tf.int32),
        lengths=tf.minimum(lengths, max_seq_length),
        cut=int(tf.math.count_nonzero(lengths > max_seq_length)),
        vocabulary=tokenizer.vocabulary,
        max_seq_length=max_seq_length,
    )


def by_length(examples: Examples) -> Examples:
    """The same rows, short ones first: batches in order have little padding.

    For scores, which do not depend on the order.
    """
    order = tf.argsort(examples.lengths, stable=True)
    return dataclasses.replace(
        examples,
        texts=tuple(tf.gather(text, order) for text in examples.texts),
        labels=tf.gather(examples.labels, order),
        lengths=tf.gather(examples.lengths, order),
    )


def steps_per_epoch(examples: Examples, batch_size: int) -> int:
    """Batches in which each row is used once, some twice to fill the last."""
    return -(-len(examples) // batch_size)


def dataset(
    examples: Examples,
    *,
    batch_size: int,
    seed: int | None,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Batches (inputs, {"logits": labels}), as `model.fit` takes them.

    A batch is padded to its own longest row only. With a seed, for training:
    endless, each epoch in an order of its own that seed and epoch decide, and
    rows of similar length share a batch: the rows are shuffled, sorted by
    length within windows of 50 batches, cut into batches, and the batches
    shuffled. All batches have batch_size rows, which replicas need: where
    the rows do not fill an epoch's last batch, some of its rows are used
    twice. Without a seed, for evaluation: one pass, in order.

    To go on after `first_step` batches gives exactly those that would have
    followed, and makes none of those before.

    Args:
        examples: what `tokenized` gave.
        batch_size: rows of a batch, on all replicas together.
        seed: of the order, or None.
        first_step: batches that were used already.
    """
    if seed is None:
        batches = tf.data.Dataset.range(len(examples)).batch(batch_size)
        batches = batches.skip(first_step)
    else:
        batches = _shuffled(examples, batch_size, seed, first_step)

    def to_model(rows):
        texts = [tf.gather(text, rows) for text in examples.texts]
        inputs, _ = pack(
            *texts,
            vocabulary=examples.vocabulary,
            seq_length=examples.max_seq_length,
        )
        return inputs, {features.LOGITS: tf.gather(examples.labels, rows)}

    batches = batches.map(to_model, num_parallel_calls=tf.data.AUTOTUNE)
    options = tf.data.Options()
    options.deterministic = True
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)


def _shuffled(examples, batch_size, seed, first_step):
    """The rows of each batch, endless."""
    first_epoch, done = divmod(
        first_step, steps_per_epoch(examples, batch_size)
    )

    def epoch_batches(epoch):
        epoch_seed = tf.random.fold_in(tf.constant([seed, 0], tf.int64), epoch)
        rows = _epoch_order(examples.lengths, batch_size, epoch_seed)
        return tf.data.Dataset.from_tensor_slices(rows)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    return epochs.flat_map(epoch_batches).skip(done)


def _epoch_order(lengths, batch_size, seed):
    """Rows of all batches of an epoch, a row of batch_size after another."""
    shuffle = tf.random.experimental.stateless_shuffle
    size = tf.size(lengths)
    rows = shuffle(tf.range(size), tf.random.fold_in(seed, _ORDER))
    whole = -(-size // batch_size) * batch_size
    rows = tf.gather(rows, tf.range(whole) % size)
    window = tf.range(whole) // (batch_size * _WINDOW)
    longest = tf.reduce_max(lengths)
    keys = window * (longest + 1) + tf.gather(lengths, rows)
    rows = tf.gather(rows, tf.argsort(keys, stable=True))
    batches = tf.reshape(rows, [-1, batch_size])
    return shuffle(batches, tf.random.fold_in(seed, _BATCHES))
