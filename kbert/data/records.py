# SPDX-License-Identifier: Apache-2.0
"""Reads and writes pre-training rows: TFRecord files with the published names.

Each row is one tf.train.Example, as google-research/bert, Model Garden and
kbert write it: every list has its full length, padding included. Only this
module uses the names on disk; elsewhere a row is a dict with the names of
`kbert.features`: ENCODER_INPUTS (S,), MLM_INPUTS, MASK_IDS and MASK_WEIGHTS
(P,), NEXT_SENTENCE_LABELS (). Rows that kbert wrote may lack the predictions,
to be masked by the reader, or the label. record_sets.py knows which files
belong together, and their vocabulary.
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
_LABEL = {"next_sentence_labels": features.NEXT_SENTENCE_LABELS}
_WEIGHTS = {"masked_lm_weights": features.MASK_WEIGHTS}  # the only floats

_FRAME_BYTES = 16  # that the TFRecord format adds to each row
_DAMAGE = (tf.errors.DataLossError, tf.errors.InvalidArgumentError)


class RowLengths(NamedTuple):
    """The lengths and contents of every row of a file, padding included."""

    max_seq_length: int  # S
    max_predictions: int  # P, or 0 if rows are not masked
    next_sentence: bool = True  # whether rows have the label
    packed: bool = False  # whether padding_mask may number several texts


def serialize(rows: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Serializes rows to tf.train.Examples, (B,) string, in the graph.

    Writes the features that `rows` has. tf.io.encode_proto builds the messages
    level by level for the whole batch, several times as fast as one Example
    per row.
    """
    entries = [
        _entry(on_disk, tf.cast(rows[name], tf.int64), "Int64List")
        for on_disk, name in (_TOKENS | _PREDICTIONS | _LABEL).items()
        if name in rows
    ]
    entries += [
        _entry(on_disk, rows[name], "FloatList")
        for on_disk, name in _WEIGHTS.items()
        if name in rows
    ]
    all_entries = _encode("Features", {"feature": tf.stack(entries, 1)})
    return _encode("Example", {"features": all_entries[:, None]})


def _entry(name, values, list_message):
    values = tf.reshape(values, (tf.shape(values)[0], -1))
    values = _encode(list_message, {"value": values})
    field = {"Int64List": "int64_list", "FloatList": "float_list"}[list_message]
    feature = _encode("Feature", {field: values[:, None]})
    key = tf.fill(tf.shape(feature), name)
    return _encode(
        "Features.FeatureEntry",
        {"key": key[:, None], "value": feature[:, None]},
    )


def _encode(message, fields):
    """Serializes one message per row; each field is (B, number of values)."""
    sizes = [tf.fill(tf.shape(v)[:1], tf.shape(v)[1]) for v in fields.values()]
    return tf.io.encode_proto(
        sizes=tf.stack(sizes, 1),
        values=list(fields.values()),
        field_names=list(fields),
        message_type=f"tensorflow.{message}",
    )


def parse(serialized: tf.Tensor, row: RowLengths) -> dict[str, tf.Tensor]:
    """Parses (B,) string to int32 and float32 features, in the graph."""
    S, P = row.max_seq_length, row.max_predictions
    names = dict(_TOKENS)
    shapes = dict.fromkeys(_TOKENS, tf.io.FixedLenFeature([S], tf.int64))
    if P:
        ints, floats = (
            tf.io.FixedLenFeature([P], dtype)
            for dtype in (tf.int64, tf.float32)
        )
        names |= _PREDICTIONS | _WEIGHTS
        shapes |= dict.fromkeys(_PREDICTIONS, ints)
        shapes |= dict.fromkeys(_WEIGHTS, floats)
    if row.next_sentence:
        names |= _LABEL
        shapes |= dict.fromkeys(_LABEL, tf.io.FixedLenFeature([], tf.int64))
    found = tf.io.parse_example(serialized, shapes)
    return {
        name: found[on_disk]
        if on_disk in _WEIGHTS
        else tf.cast(found[on_disk], tf.int32)
        for on_disk, name in names.items()
    }


def checked(
    rows: Mapping[str, tf.Tensor], row: RowLengths, vocab_size: int
) -> dict[str, tf.Tensor]:
    """Returns parsed rows after checking their numbers, in the graph.

    Raises: tf.errors.InvalidArgumentError if a token, a position or a label is
        out of range; `explain_damage` names it.
    """
    invalid = [
        # As an unsigned number, a negative one is too high.
        tf.reduce_any(tf.bitcast(rows[name], tf.uint32) > highest)
        for name, highest in _highest(rows, row, vocab_size).items()
    ]
    check = tf.debugging.Assert(
        ~tf.reduce_any(invalid), ["numbers out of range"]
    )
    with tf.control_dependencies([] if check is None else [check]):  # eager
        return {name: tf.identity(value) for name, value in rows.items()}


def _highest(rows, row, vocab_size):
    """Returns the highest valid number of each feature; the lowest is 0."""
    highest = {
        "token_ids": vocab_size - 1,
        "padding_mask": row.max_seq_length if row.packed else 1,
        "segment_ids": 1,
        "mask_positions": row.max_seq_length - 1,
        features.MASK_IDS: vocab_size - 1,
        features.NEXT_SENTENCE_LABELS: 1,
    }
    return {name: highest[name] for name in rows if name in highest}


def write(path: str, batches: Iterable[tf.Tensor]) -> int:
    """Writes batches of serialized rows; returns the number of rows."""
    num_rows = 0
    with tf.io.TFRecordWriter(path) as writer:
        for batch in batches:
            for row in batch.numpy():
                writer.write(row)
            num_rows += len(batch)
    return num_rows


def row_lengths(path: str) -> RowLengths:
    """Reads lengths and contents of a file's rows from its first row.

    The first row does not show whether others have several texts; rows without
    labels are assumed to be packed.

    Raises: ValueError, naming the file, if it is not a file of such rows.
    """
    try:
        rows = list(tf.data.TFRecordDataset(path).take(1).as_numpy_iterator())
    except tf.errors.DataLossError:
        raise ValueError(f"{path}: not a TFRecord file, or damaged.") from None
    if not rows:
        raise ValueError(f"{path}: has no rows.")
    try:
        found = tf.train.Example.FromString(rows[0]).features.feature
    except Exception:  # DecodeError, of the protobuf that is installed
        raise ValueError(f"{path}: not a tf.train.Example.") from None
    required = {*_TOKENS}
    if masked := not found.keys().isdisjoint(_PREDICTIONS | _WEIGHTS):
        required |= {*_PREDICTIONS, *_WEIGHTS}
    if missing := sorted(required - set(found)):
        raise ValueError(f"{path}: features {missing} are missing.")
    next_sentence = not found.keys().isdisjoint(_LABEL)
    return RowLengths(
        len(found["input_ids"].int64_list.value),
        len(found["masked_lm_ids"].int64_list.value) if masked else 0,
        next_sentence=next_sentence,
        packed=not next_sentence,
    )


def count_rows(files: Sequence[str], row: RowLengths, vocab_size: int) -> int:
    """Reads files, checks all rows and returns their number.

    Raises: ValueError, naming file and row, at the first row that is damaged,
        has other lengths or a number out of range, such as the token id
        vocab_size.
    """
    num_rows = 0
    for path in files:
        try:
            rows, size = _measure(path, row, vocab_size)
        except _DAMAGE:
            rows, size = 0, -1
        if size != os.path.getsize(path):
            reason = _describe_damage(path, row, vocab_size)
            raise ValueError(f"{path}: {reason}")
        num_rows += rows
    return num_rows


@contextlib.contextmanager
def explain_damage(
    files: Sequence[str], row: RowLengths, vocab_size: int
) -> Iterator[None]:
    """Converts TensorFlow's error at a damaged row to a ValueError.

    Wrap it around code that reads records. The error names file and row, for
    which the files are read again; without an error there is no cost.

    Args:
        files: the files that are read.
        row: the lengths of their rows.
        vocab_size: the number of token ids.
    """
    try:
        yield
    except _DAMAGE:
        count_rows(files, row, vocab_size)
        raise  # the files are not damaged: another error


def _measure(path, row, vocab_size):
    """Parses a file; returns the number of its rows and their size in bytes.

    TensorFlow reports no error if a file is truncated within the twelve bytes
    before a row; the size shows it.
    """

    def measure(serialized):
        # Use the checked rows: unused operations would not run.
        rows = checked(parse(serialized, row), row, vocab_size)
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


def _describe_damage(path, row, vocab_size):
    whole = 0
    try:
        for serialized in tf.data.TFRecordDataset(path):
            rows = parse(serialized[None], row)
            if error := _out_of_range(rows, row, vocab_size):
                return f"row {whole + 1}: {error}"
            whole += 1
    except tf.errors.InvalidArgumentError as error:
        reason = error.message.rpartition("}} ")[2]  # without the node's name
        return (
            f"row {whole + 1} does not have {row.max_seq_length} tokens and "
            f"{row.max_predictions} predictions: {reason}"
        )
    except tf.errors.DataLossError:
        pass
    return f"damaged or truncated after {whole} complete rows."


def _out_of_range(rows, row, vocab_size):
    names = {v: k for k, v in (_TOKENS | _PREDICTIONS | _LABEL).items()}
    for name, highest in _highest(rows, row, vocab_size).items():
        for number in rows[name].numpy().ravel().tolist():
            if not 0 <= number <= highest:
                return f"{number} in {names[name]}; needs 0 to {highest}."
    return None
