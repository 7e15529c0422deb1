# SPDX-License-Identifier: Apache-2.0
"""Pre-training rows on disk: TFRecord files with the published names.

Each row is one tf.train.Example, as google-research/bert, Model Garden and
kbert write it: every list has its full length, padding included. Only this
file knows the names on disk; everywhere else a row is a dict of the names in
`kbert.features`: ENCODER_INPUTS (S,), MLM_INPUTS, MASK_IDS and MASK_WEIGHTS
(P,), NEXT_SENTENCE_LABELS (). Which files belong together, and to which
vocabulary, is told in record_sets.py.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from kbert import features

# Name on disk: name in kbert.
_TOKENS = {
    "input_ids": "token_ids",
    "input_mask": "padding_mask",
    "segment_ids": "segment_ids",
}
_PREDICTIONS = {
    "masked_lm_positions": "mask_positions",
    "masked_lm_ids": features.MASK_IDS,
}
_WEIGHTS = "masked_lm_weights"  # the only floats
_LABELS = "next_sentence_labels"

_FRAME_BYTES = 16  # of the TFRecord format, around each row
_DAMAGE = (tf.errors.DataLossError, tf.errors.InvalidArgumentError)


class RowLengths(NamedTuple):
    """Columns of every row of a file, padding included."""

    max_seq_length: int  # S
    max_predictions: int  # P


def serialize(rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Rows to serialized tf.train.Examples, (B,) string, in the graph.

    The messages are put together by tf.io.encode_proto, level by level, for
    the whole batch at once: several times as fast as one Example a row.
    """
    rows = {n: tf.cast(v, tf.int64) for n, v in rows.items()} | {
        features.MASK_WEIGHTS: rows[features.MASK_WEIGHTS]
    }
    entries = [
        _entry(on_disk, rows[name], "Int64List", "int64_list")
        for on_disk, name in (_TOKENS | _PREDICTIONS).items()
    ]
    labels = rows[features.NEXT_SENTENCE_LABELS][:, None]
    entries.append(_entry(_LABELS, labels, "Int64List", "int64_list"))
    weights = rows[features.MASK_WEIGHTS]
    entries.append(_entry(_WEIGHTS, weights, "FloatList", "float_list"))
    all_entries = _encode("Features", {"feature": tf.stack(entries, 1)})
    return _encode("Example", {"features": all_entries[:, None]})


def _entry(name, values, list_message, field):
    values = _encode(list_message, {"value": values})
    feature = _encode("Feature", {field: values[:, None]})
    key = tf.fill(tf.shape(feature), name)
    return _encode(
        "Features.FeatureEntry",
        {"key": key[:, None], "value": feature[:, None]},
    )


def _encode(message, fields):
    """Serializes one message a row; each field is (B, number of values)."""
    sizes = [tf.fill(tf.shape(v)[:1], tf.shape(v)[1]) for v in fields.values()]
    return tf.io.encode_proto(
        sizes=tf.stack(sizes, 1),
        values=list(fields.values()),
        field_names=list(fields),
        message_type=f"tensorflow.{message}",
    )


def parse(serialized: tf.Tensor, row: RowLengths) -> dict[str, tf.Tensor]:
    """(B,) string to int32 and float32 features, in the graph."""
    lengths = dict.fromkeys(_TOKENS, [row.max_seq_length])
    lengths |= dict.fromkeys(_PREDICTIONS, [row.max_predictions])
    shapes = {n: tf.io.FixedLenFeature(s, tf.int64) for n, s in lengths.items()}
    shapes[_LABELS] = tf.io.FixedLenFeature([1], tf.int64)
    shapes[_WEIGHTS] = tf.io.FixedLenFeature([row.max_predictions], tf.float32)
    found = tf.io.parse_example(serialized, shapes)
    rows = {
        name: tf.cast(found[on_disk], tf.int32)
        for on_disk, name in (_TOKENS | _PREDICTIONS).items()
    }
    rows[features.NEXT_SENTENCE_LABELS] = tf.cast(
        found[_LABELS][:, 0], tf.int32
    )
    rows[features.MASK_WEIGHTS] = found[_WEIGHTS]
    return rows


def write(path: str, batches: Iterable[tf.Tensor]) -> int:
    """Writes batches of what `serialize` gives; returns the number of rows."""
    num_rows = 0
    with tf.io.TFRecordWriter(path) as writer:
        for batch in batches:
            for row in batch.numpy():
                writer.write(row)
            num_rows += len(batch)
    return num_rows


def row_lengths(path: str) -> RowLengths:
    """Tokens and predictions of a file's first row.

    Raises: ValueError, naming the file, if it is no file of such rows.
    """
    try:
        rows = list(tf.data.TFRecordDataset(path).take(1).as_numpy_iterator())
    except tf.errors.DataLossError:
        raise ValueError(f"{path}: not a TFRecord file, or damaged.") from None
    if not rows:
        raise ValueError(f"{path}: holds no row.")
    try:
        found = tf.train.Example.FromString(rows[0]).features.feature
    except Exception:  # DecodeError, of the protobuf that is installed
        raise ValueError(f"{path}: no tf.train.Example.") from None
    wanted = {*_TOKENS, *_PREDICTIONS, _WEIGHTS, _LABELS}
    if missing := sorted(wanted - set(found)):
        raise ValueError(f"{path}: features {missing} are missing.")
    return RowLengths(
        len(found["input_ids"].int64_list.value),
        len(found["masked_lm_ids"].int64_list.value),
    )


def count_rows(files: Sequence[str], row: RowLengths) -> int:
    """Reads files through.

    Raises: ValueError, naming file and row, at the first row that is damaged
        or has other lengths.
    """
    num_rows = 0
    for path in files:
        try:
            rows, size = _measure(path, row)
        except _DAMAGE:
            rows, size = 0, -1
        if size != os.path.getsize(path):
            raise ValueError(f"{path}: {_describe_damage(path, row)}")
        num_rows += rows
    return num_rows


@contextlib.contextmanager
def damage_named(files: Sequence[str], row: RowLengths) -> Iterator[None]:
    """Turns TensorFlow's error at a damaged row into a ValueError.

    Wrap it around code that reads records. The error names file and row; it
    costs another reading of the files, and nothing while all is well.

    Args:
        files: those that are read.
        row: lengths of their rows.
    """
    try:
        yield
    except _DAMAGE:
        count_rows(files, row)
        raise  # the files are whole, so it is something else


def _measure(path, row):
    """Rows of a file that can all be parsed, and bytes that they take.

    Bytes, because TensorFlow ends without an error where a file is cut short
    inside the twelve bytes before a row.
    """

    def measure(serialized):
        rows = parse(serialized, row)  # what nothing uses would not be run
        num_rows = tf.shape(rows["token_ids"], tf.int64)[0]
        size = tf.reduce_sum(tf.strings.length(serialized))
        return num_rows, tf.cast(size, tf.int64) + num_rows * _FRAME_BYTES

    batches = tf.data.TFRecordDataset(path).batch(1024).map(measure)
    zero = tf.constant(0, tf.int64)
    total = batches.reduce(
        (zero, zero),
        lambda sums, batch: tf.nest.map_structure(tf.add, sums, batch),
    )
    return [int(number) for number in total]


def _describe_damage(path, row):
    whole = 0
    try:
        for serialized in tf.data.TFRecordDataset(path):
            parse(serialized[None], row)
            whole += 1
    except tf.errors.InvalidArgumentError as error:
        reason = error.message.rpartition("}} ")[2]  # less the node's name
        return (
            f"row {whole + 1} is none of {row.max_seq_length} tokens and "
            f"{row.max_predictions} predictions: {reason}"
        )
    except tf.errors.DataLossError:
        pass
    return f"damaged or cut short after {whole} whole rows."
