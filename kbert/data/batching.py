# SPDX-License-Identifier: Apache-2.0
"""Batches examples of a task, grouping rows of similar length."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from kbert.text.vocabulary import Vocabulary

_CHUNK_ROWS = 1024
# Batches per window in which rows are sorted by length; a seed's order depends
# on it. With larger windows all rows of a batch have about the same length,
# and models are worse: see RESULTS.md.
_WINDOW = 4
_ORDER, _BATCHES = 0, 1  # random draws of an epoch
_WEIGHTS = "weights"  # the part of an example with its loss weight

Parts = Mapping[str, tf.Tensor | tf.RaggedTensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """Tokenized rows, compact in memory, in the order of their table.

    Attributes:
        parts: the tensors of the rows by name, each (rows, ...).
        lengths: (rows,) int32, tokens of each packed row.
        to_batch: a function, run in the graph, from the parts of some rows to
            a batch: (inputs, labels) or (inputs, labels, weights). The tokens
            of a row do not depend on its batch.
        num_truncated: the number of rows that are truncated.
        text_ids: (rows, K) int32; rows that have a number in common are never
            in one training batch. None if all rows may be.
    """

    parts: Parts
    lengths: tf.Tensor
    to_batch: Callable[[Parts], tuple]
    num_truncated: int = 0
    text_ids: np.ndarray | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return int(self.lengths.shape[0])

    def weighted(self, weights: np.ndarray) -> "Examples":
        """Returns the same rows with weights for their losses.

        Args:
            weights: (rows,) float, for outputs with one loss per row.
        """

        def to_batch(parts):
            batch = self.to_batch(parts)
            return *batch, dict.fromkeys(batch[1], parts[_WEIGHTS])

        parts = {**self.parts, _WEIGHTS: tf.constant(weights, tf.float32)}
        return dataclasses.replace(self, parts=parts, to_batch=to_batch)


def map_in_chunks(
    columns: Mapping[str, tf.Tensor | tf.RaggedTensor],
    function: Callable[[Parts], Parts],
) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Applies a function, such as a tokenizer, to many rows in chunks.

    Args:
        columns: tensors by name, each (rows, ...).
        function: a function of a chunk, run in the graph. It may return a
            different number of rows, such as windows.
    Returns: the concatenated results.
    """
    chunks = tf.data.Dataset.from_tensor_slices(dict(columns))
    chunks = chunks.batch(_CHUNK_ROWS)
    chunks = list(chunks.map(function, num_parallel_calls=tf.data.AUTOTUNE))
    return {name: tf.concat([x[name] for x in chunks], 0) for name in chunks[0]}


def sorted_by_length(examples: Examples) -> Examples:
    """Returns the same rows, shortest first, so that batches have less padding.

    For evaluation losses, which do not depend on the order.
    """
    order = tf.argsort(examples.lengths, stable=True)
    return dataclasses.replace(
        examples,
        parts=_gathered(examples.parts, order),
        lengths=tf.gather(examples.lengths, order),
    )


def steps_per_epoch(examples: Examples, batch_size: int) -> int:
    """Returns the number of batches in an epoch; the last one is filled up."""
    return -(-len(examples) // batch_size)


def used_token_ids(examples: Examples, vocabulary: Vocabulary) -> np.ndarray:
    """Returns the sorted ids of all tokens that occur, (K,) int.

    Args:
        examples: the examples.
        vocabulary: the vocabulary of their ids.
    """
    is_used = np.zeros(len(vocabulary), bool)
    is_used[vocabulary.pad_id] = True
    for inputs, *_ in dataset(examples, batch_size=_CHUNK_ROWS, seed=None):
        is_used[inputs["token_ids"].numpy()] = True
    return np.flatnonzero(is_used)


def dataset(
    examples: Examples,
    *,
    batch_size: int,
    seed: int | None,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Yields batches (inputs, labels), as `model.fit` takes them.

    Each batch is padded to its longest row. With a seed, for training, the
    dataset is endless. Seed and epoch determine the order of each epoch, and
    rows of similar length share a batch: the rows are shuffled, sorted by
    length within windows of 4 batches and split into batches, and the batches
    are shuffled. All batches have batch_size rows, as replicas require: if the
    rows do not fill the last batch of an epoch, some rows are used twice. A row
    that has a text of its batch (see `text_ids`) goes to the next batch; one
    that no batch of the epoch can take is left out of it.
    Without a seed, for evaluation, there is one pass in order.

    A dataset that resumes after `first_step` batches yields exactly the
    batches that would have followed, and does not compute earlier ones.

    Args:
        examples: the examples of a task.
        batch_size: rows per batch, over all replicas.
        seed: the seed of the order, or None.
        first_step: the number of batches to skip.
    Raises: ValueError if no batch has so many rows without a text in common.
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
    """Returns weights (B, S) float32 for a mean over selected tokens.

    With these weights the mean over all elements, which losses and replicas
    compute, equals the mean over the selected ones. If none is selected, all
    weights are 0.

    Args:
        counted: (B, S) bool, True for selected tokens.
    """
    weights = tf.cast(counted, tf.float32)
    size = tf.cast(tf.size(weights), tf.float32)
    return weights * tf.math.divide_no_nan(size, tf.reduce_sum(weights))


def _gathered(parts: Parts, rows) -> dict:
    return {name: tf.gather(part, rows) for name, part in parts.items()}


def _shuffled(examples, batch_size, seed, first_step):
    """Yields the row indices of each batch, endlessly."""
    first_epoch, done = divmod(
        first_step, steps_per_epoch(examples, batch_size)
    )
    ids = examples.text_ids
    if ids is not None:  # now, for an error inside of the graph is long
        if batch_size < 2:
            raise ValueError(
                "batch_size is 1; rows are compared: needs 2 or more."
            )
        _without_common_texts(np.arange(len(examples)), ids, batch_size)

    def epoch_batches(epoch):
        epoch_seed = tf.random.fold_in(tf.constant([seed, 0], tf.int64), epoch)
        rows = _epoch_order(examples.lengths, batch_size, epoch_seed, ids)
        return tf.data.Dataset.from_tensor_slices(rows)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    return epochs.flat_map(epoch_batches).skip(done)


def _epoch_order(lengths, batch_size, seed, ids):
    """Returns the row indices of an epoch's batches, (batches, batch_size)."""
    shuffle = tf.random.experimental.stateless_shuffle
    size = tf.size(lengths)
    rows = shuffle(tf.range(size), tf.random.fold_in(seed, _ORDER))
    whole = -(-size // batch_size) * batch_size
    rows = tf.gather(rows, tf.range(whole) % size)
    window = tf.range(whole) // (batch_size * _WINDOW)
    longest = tf.reduce_max(lengths)
    keys = window * (longest + 1) + tf.gather(lengths, rows)
    rows = tf.gather(rows, tf.argsort(keys, stable=True))
    if ids is not None:
        rows = tf.numpy_function(
            lambda rows: _without_common_texts(rows, ids, batch_size),
            [rows],
            tf.int32,
            stateful=False,
        )
    batches = tf.reshape(rows, [-1, batch_size])
    return shuffle(batches, tf.random.fold_in(seed, _BATCHES))


def _without_common_texts(rows, ids, batch_size):
    """Reorders rows so that no batch has two with a number in common.

    Args:
        rows: (N,) indices, in order.
        ids: (rows, K) the numbers of each.
        batch_size: rows of a batch.
    Returns: (batches * batch_size,) int32.
    Raises: ValueError if a batch cannot be filled.
    """
    numbers = [frozenset(row) for row in ids.tolist()]
    waiting: list[int] = []
    coming = iter(rows.tolist())
    order: list[int] = []
    for _ in range(-(-len(rows) // batch_size)):
        taken: set[int] = set()
        batch: dict[int, None] = {}
        # At the end rows of earlier batches fill the last ones.
        postponed: list[int] = []
        for row in itertools.chain(waiting, coming, rows.tolist()):
            if taken.isdisjoint(numbers[row]):
                batch[row] = None
                taken |= numbers[row]
                if len(batch) == batch_size:
                    break
            elif row not in batch:
                postponed.append(row)
        else:
            raise ValueError(
                f"batch_size is {batch_size}; no more than {len(batch)} rows "
                "have no text in common, which a batch needs."
            )
        order += batch
        left = dict.fromkeys(waiting + postponed)
        waiting = [row for row in left if row not in batch]
    return np.array(order, np.int32)
