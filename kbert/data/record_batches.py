# SPDX-License-Identifier: Apache-2.0
"""Reads record files into batches for the pre-training model."""

import collections
import math
from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf

from kbert import features
from kbert.data import records
from kbert.data.masking import Masking, mask_tokens
from kbert.data.record_sets import RecordSet

# The order for a seed depends on these.
_PARALLEL_FILES = 16
_SHUFFLE_WINDOW = 32768

# Rows that are masked together in evaluation, whatever the batch size.
_EVAL_MASKING_ROWS = 256


def dataset(
    record_set: RecordSet,
    *,
    batch_size: int,
    seed: int | None,
    first_step: int = 0,
    masking: Masking | None = None,
) -> tf.data.Dataset:
    """Yields batches (inputs, labels, weights), as `model.fit` takes them.

    With a seed, for training, the dataset is endless and all batches are full.
    Seed and epoch determine the order of each epoch: that of the files, then
    of the rows within windows of 32,768, read from up to 16 files in parallel.
    A batch may contain the end of one epoch and the start of the next. Without
    a seed, for evaluation, there is one pass in the order of the files, and
    the last batch may be smaller.

    Rows that are not masked yet are masked here: in training by seed and step,
    so differently in each epoch (Liu et al. 2019, arXiv:1907.11692, section
    4.1); in evaluation always equally, whatever the batch size.

    A dataset that resumes after `first_step` batches yields exactly the
    batches that would have followed: it skips earlier epochs, and reads but
    does not parse the earlier rows of the current one.

    Args:
        record_set: the result of `record_sets.find`. A damaged row raises
            TensorFlow's error, which `record_set.explain_damage()` explains.
        batch_size: rows per batch, over all replicas.
        seed: the seed of order and masks, or None.
        first_step: the number of batches to skip.
        masking: how to mask rows that are not masked yet.
    Returns: a dataset. Inputs are ENCODER_INPUTS and MLM_INPUTS; labels and
        weights have the keys "mlm_logits" and, if the rows have next-sentence
        labels, "nsp_logits". Masked-LM weights are scaled by their number /
        their sum, so that the plain mean of a batch's weighted losses is the
        mean over its predictions.
    Raises: ValueError if the rows are not masked and `masking` is None.
    """
    if not record_set.row.max_predictions:
        check_masking([record_set], masking)

    def read(number, serialized):
        row, vocabulary = record_set.row, record_set.vocabulary
        rows = records.parse(serialized, row)
        rows = records.checked(rows, row, len(vocabulary))
        if row.max_predictions or masking is None:
            return rows
        return rows | mask_tokens(
            rows["token_ids"],
            rows["padding_mask"],
            vocabulary=vocabulary,
            masking=masking,
            seed=tf.random.fold_in(
                tf.constant([seed or 0, seed is not None], tf.int64), number
            ),
        )

    if seed is None:
        batches = tf.data.TFRecordDataset(record_set.files)
        batches = batches.batch(_EVAL_MASKING_ROWS).enumerate().map(read)
        batches = batches.rebatch(batch_size).skip(first_step).map(batch_of)
    else:
        rows = _shuffled_rows(record_set, seed, first_step * batch_size)
        batches = rows.batch(batch_size, drop_remainder=True)
        batches = batches.enumerate(first_step).map(
            lambda number, serialized: batch_of(read(number, serialized)),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    options = tf.data.Options()
    options.deterministic = True
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)


def check_masking(
    record_sets: Sequence[RecordSet], masking: Masking | None
) -> None:
    """Checks that masking is given if, and only if, rows are not masked yet.

    Raises: ValueError, naming the file; also for more predictions than tokens.
    """
    unmasked = [s for s in record_sets if not s.row.max_predictions]
    if unmasked and not masking:
        raise ValueError(
            f"{unmasked[0].files[0]}: its rows are not masked; needs "
            "max_predictions."
        )
    for found in unmasked:
        length = found.row.max_seq_length
        if masking and masking.max_predictions > length:
            raise ValueError(
                f"max_predictions is {masking.max_predictions}; needs at most "
                f"{length}, the tokens of a row of {found.files[0]}."
            )
    if masking and not unmasked:
        raise ValueError(
            f"{record_sets[0].files[0]}: its rows are masked already; "
            "max_predictions, masked_lm_prob, whole_words and max_ngram need "
            "rows that are not."
        )


def label_entropies(batches: Iterable) -> dict[str, float]:
    """Returns the entropies of the label frequencies, in nats.

    They are the losses of a model that predicts these frequencies and nothing
    else.

    Args:
        batches: a `dataset` without a seed.
    Returns: "mlm_label_entropy" and, if the rows have next-sentence labels,
        "nsp_label_entropy".
    """
    counts = collections.defaultdict(collections.Counter)
    for _, labels, weights in batches:
        for name, values in labels.items():
            counts[name].update(values[weights[name] > 0].numpy().tolist())
    return {
        name.replace("logits", "label_entropy"): _entropy(counter)
        for name, counter in counts.items()
    }


def _entropy(counter):
    total = counter.total()
    return -sum(n / total * math.log(n / total) for n in counter.values())


def _shuffled_rows(record_set, seed, first_row):
    """Yields serialized rows endlessly, without the first `first_row`."""
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
            tf.data.TFRecordDataset, cycle_length=_PARALLEL_FILES
        )
        windows = rows.batch(_SHUFFLE_WINDOW).enumerate()
        return windows.map(
            lambda number, rows: shuffled_window(epoch_seed, number, rows)
        ).prefetch(1)

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return epochs.flat_map(epoch_rows).unbatch().skip(done)


def batch_of(rows: Mapping[str, tf.Tensor]) -> tuple[dict, dict, dict]:
    """Converts masked rows to (inputs, labels, weights) for `model.fit`.

    Args:
        rows: ENCODER_INPUTS, MLM_INPUTS, MASK_IDS and MASK_WEIGHTS, and
            optionally NEXT_SENTENCE_LABELS.
    """
    weights = rows[features.MASK_WEIGHTS]
    total = tf.reduce_sum(weights)
    scale = tf.math.divide_no_nan(tf.cast(tf.size(weights), total.dtype), total)
    names = (*features.ENCODER_INPUTS, *features.MLM_INPUTS)
    inputs = {name: rows[name] for name in names}
    labels = {features.MLM_LOGITS: rows[features.MASK_IDS]}
    weights = {features.MLM_LOGITS: weights * scale}
    if features.NEXT_SENTENCE_LABELS in rows:
        is_random = rows[features.NEXT_SENTENCE_LABELS]
        labels[features.NSP_LOGITS] = is_random
        weights[features.NSP_LOGITS] = tf.ones_like(is_random, tf.float32)
    return inputs, labels, weights
