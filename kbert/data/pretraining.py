# SPDX-License-Identifier: Apache-2.0
"""Record files to batches for the pre-training model."""

import collections
import math
from collections.abc import Iterable

import tensorflow as tf

from kbert import features
from kbert.data import records
from kbert.data.record_sets import RecordSet

# The order that a seed gives depends on these.
_FILES_AT_ONCE = 16
_ROWS_SHUFFLED = 32768


def dataset(
    record_set: RecordSet,
    *,
    batch_size: int,
    seed: int | None,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Batches (inputs, labels, weights), as `model.fit` takes them.

    With a seed, for training: endless, batches all full, and each epoch in
    an order of its own that seed and epoch decide (files, then windows of
    32,768 rows, one to sixteen files at a time). A batch may hold the end of
    one epoch and the start of the next. Without a seed, for evaluation: one
    pass in the order of the files; the last batch may be smaller.

    To go on after `first_step` batches gives exactly the batches that would
    have followed: the epochs before it are left out, and of its own epoch
    the rows before it are read again, but not parsed.

    Args:
        record_set: what `record_sets.find` found. A damaged row raises
            TensorFlow's error; `record_set.damage_named()` explains it.
        batch_size: rows of a batch, on all replicas together.
        seed: of the order, or None.
        first_step: batches that were used already.
    Returns: inputs are ENCODER_INPUTS and MLM_INPUTS; labels and weights have
        the keys "mlm_logits" and "nsp_logits". Masked-LM weights are scaled
        by their number / their sum, so that the plain mean over a batch's
        weighted losses is the mean over its predictions.
    """
    first_row = first_step * batch_size
    if seed is None:
        rows = tf.data.TFRecordDataset(record_set.files).skip(first_row)
    else:
        rows = _shuffled_rows(record_set, seed, first_row)
    batches = rows.batch(batch_size, drop_remainder=seed is not None)
    batches = batches.map(
        lambda serialized: _to_model(records.parse(serialized, record_set.row)),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    options = tf.data.Options()
    options.deterministic = True
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)


def label_entropies(batches: Iterable) -> dict[str, float]:
    """Entropies of the labels' own frequencies, in nats.

    They are the losses of a model that knows how often each label occurs in
    these very batches, and nothing else.

    Args:
        batches: of `dataset`, without a seed.
    Returns: "mlm_label_entropy" and "nsp_label_entropy".
    """
    counts = {
        features.MLM_LOGITS: collections.Counter(),
        features.NSP_LOGITS: collections.Counter(),
    }
    for _, labels, weights in batches:
        for name, counter in counts.items():
            counter.update(labels[name][weights[name] > 0].numpy().tolist())
    return {
        name.replace("logits", "label_entropy"): _entropy(counter)
        for name, counter in counts.items()
    }


def _entropy(counter):
    total = counter.total()
    return -sum(n / total * math.log(n / total) for n in counter.values())


def _shuffled_rows(record_set, seed, first_row):
    """Serialized rows, endless, from a row on that counts all epochs."""
    first_epoch, done = divmod(first_row, record_set.num_rows)

    def shuffled_window(epoch_seed, number, rows):
        window_seed = tf.random.fold_in(epoch_seed, number)
        return tf.random.experimental.stateless_shuffle(rows, window_seed)

    def epoch_rows(epoch):
        epoch_seed = tf.random.fold_in(tf.constant([seed, 0], tf.int64), epoch)
        files = tf.random.experimental.stateless_shuffle(
            tf.constant(record_set.files), epoch_seed
        )
        rows = tf.data.Dataset.from_tensor_slices(files).interleave(
            tf.data.TFRecordDataset, cycle_length=_FILES_AT_ONCE
        )
        windows = rows.batch(_ROWS_SHUFFLED).enumerate()
        return windows.map(
            lambda number, rows: shuffled_window(epoch_seed, number, rows)
        ).prefetch(1)

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return epochs.flat_map(epoch_rows).unbatch().skip(done)


def _to_model(rows):
    weights = rows[features.MASK_WEIGHTS]
    total = tf.reduce_sum(weights)
    scale = tf.math.divide_no_nan(tf.cast(tf.size(weights), total.dtype), total)
    labels = {
        features.MLM_LOGITS: rows[features.MASK_IDS],
        features.NSP_LOGITS: rows[features.NEXT_SENTENCE_LABELS],
    }
    weights = {
        features.MLM_LOGITS: weights * scale,
        features.NSP_LOGITS: tf.ones_like(
            rows[features.NEXT_SENTENCE_LABELS], tf.float32
        ),
    }
    names = (*features.ENCODER_INPUTS, *features.MLM_INPUTS)
    return {name: rows[name] for name in names}, labels, weights
