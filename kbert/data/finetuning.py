# SPDX-License-Identifier: Apache-2.0
"""Examples of a task to batches, those of like length together."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from kbert.text.vocabulary import Vocabulary

_ROWS_AT_ONCE = 1024  # to tokenize
# Batches whose rows are sorted by length; a seed's order. In larger windows a
# batch is of one length, and models come out worse: see RESULTS.md.
_WINDOW = 4
_ORDER, _BATCHES = 0, 1  # what an epoch draws
_WEIGHTS = "weights"  # of the losses, among an example's parts

Parts = Mapping[str, tf.Tensor | tf.RaggedTensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """Tokenized rows, compact in memory, in the order of their table.

    Attributes:
        parts: what the rows are made of, by name, each (rows, ...).
        lengths: (rows,) int32, tokens of a row once packed.
        to_batch: makes a batch, (inputs, labels) or with weights, of some
            rows of all parts, inside the graph. A row's tokens are the same
            in any batch.
        num_truncated: rows that lose tokens to the longest length.
    """

    parts: Parts
    lengths: tf.Tensor
    to_batch: Callable[[Parts], tuple]
    num_truncated: int = 0

    def __len__(self) -> int:
        """The number of rows."""
        return int(self.lengths.shape[0])

    def weighted(self, weights: np.ndarray) -> "Examples":
        """The same rows, whose losses count by weights.

        Args:
            weights: (rows,) float, for outputs of one loss a row.
        """

        def to_batch(parts):
            batch = self.to_batch(parts)
            return *batch, dict.fromkeys(batch[1], parts[_WEIGHTS])

        parts = {**self.parts, _WEIGHTS: tf.constant(weights, tf.float32)}
        return dataclasses.replace(self, parts=parts, to_batch=to_batch)


def mapped(
    columns: Mapping[str, tf.Tensor | tf.RaggedTensor],
    function: Callable[[Parts], Parts],
) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """A function of rows, such as a tokenizer, over many, some at a time.

    Args:
        columns: by name, each (rows, ...).
        function: of some rows of them, run in a graph. It may give another
            number of rows, such as windows.
    Returns: what it gives, for all rows.
    """
    chunks = tf.data.Dataset.from_tensor_slices(dict(columns))
    chunks = chunks.batch(_ROWS_AT_ONCE)
    chunks = chunks.map(function, num_parallel_calls=tf.data.AUTOTUNE)
    found = list(chunks)
    return {name: tf.concat([x[name] for x in found], 0) for name in found[0]}


def by_length(examples: Examples) -> Examples:
    """The same rows, short ones first: batches in order have little padding.

    For losses, which do not depend on the order.
    """
    order = tf.argsort(examples.lengths, stable=True)
    return dataclasses.replace(
        examples,
        parts=_gathered(examples.parts, order),
        lengths=tf.gather(examples.lengths, order),
    )


def steps_per_epoch(examples: Examples, batch_size: int) -> int:
    """Batches in which each row is used once, some twice to fill the last."""
    return -(-len(examples) // batch_size)


def seen_tokens(examples: Examples, vocabulary: Vocabulary) -> np.ndarray:
    """The ids that batches of some examples may have, in order, (K,) int.

    Args:
        examples: of a task.
        vocabulary: of the ids.
    """
    is_seen = np.zeros(len(vocabulary), bool)
    is_seen[vocabulary.pad_id] = True
    for inputs, *_ in dataset(examples, batch_size=_ROWS_AT_ONCE, seed=None):
        is_seen[inputs["token_ids"].numpy()] = True
    return np.flatnonzero(is_seen)


def dataset(
    examples: Examples,
    *,
    batch_size: int,
    seed: int | None,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Batches (inputs, labels), as `model.fit` takes them.

    A batch is padded to its own longest row only. With a seed, for training:
    endless, each epoch in an order of its own that seed and epoch decide, and
    rows of similar length share a batch: the rows are shuffled, sorted by
    length within windows of 4 batches, cut into batches, and the batches
    shuffled. All batches have batch_size rows, which replicas need: where
    the rows do not fill an epoch's last batch, some of its rows are used
    twice. Without a seed, for evaluation: one pass, in order.

    To go on after `first_step` batches gives exactly those that would have
    followed, and makes none of those before.

    Args:
        examples: of a task.
        batch_size: rows of a batch, on all replicas together.
        seed: of the order, or None.
        first_step: batches that were used already.
    """
    if seed is None:
        batches = tf.data.Dataset.range(len(examples)).batch(batch_size)
        batches = batches.skip(first_step)
    else:
        batches = _shuffled(examples, batch_size, seed, first_step)
    batches = batches.map(
        lambda rows: examples.to_batch(_gathered(examples.parts, rows)),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    options = tf.data.Options()
    options.deterministic = True
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)


def token_weights(counted: tf.Tensor) -> tf.Tensor:
    """Weights (B, S) float32 for a mean over some of a batch's tokens.

    They are 0 elsewhere, and such that a mean over all elements, as losses
    and replicas take it, is the mean over those that count. Where none does,
    all are 0.

    Args:
        counted: (B, S) bool.
    """
    weights = tf.cast(counted, tf.float32)
    size = tf.cast(tf.size(weights), tf.float32)
    return weights * tf.math.divide_no_nan(size, tf.reduce_sum(weights))


def _gathered(parts: Parts, rows) -> dict:
    return {name: tf.gather(part, rows) for name, part in parts.items()}


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
