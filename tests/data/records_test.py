# SPDX-License-Identifier: Apache-2.0
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kbert.data import records

ROW = records.RowLengths(max_seq_length=6, max_predictions=2)
VOCAB_SIZE = 70001


def published_row(number):
    """A row made by hand, field by field as google-research/bert does it."""

    def ints(*values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    weights = tf.train.FloatList(value=[1.0, 0.0])
    fields = {
        "input_ids": ints(2, 4, 300 + number, 3, 70000, 3),
        "input_mask": ints(1, 1, 1, 1, 1, 1),
        "segment_ids": ints(0, 0, 0, 0, 1, 1),
        "masked_lm_positions": ints(1, 0),
        "masked_lm_ids": ints(12 + number, 0),
        "masked_lm_weights": tf.train.Feature(float_list=weights),
        "next_sentence_labels": ints(number % 2),
    }
    return tf.train.Example(features=tf.train.Features(feature=fields))


@pytest.fixture
def file(tmp_path):
    path = str(tmp_path / "tf_examples.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for number in range(50):
            writer.write(published_row(number).SerializeToString())
    return path


def parsed(path):
    batches = tf.data.TFRecordDataset(path).batch(100)
    return next(iter(batches.map(lambda rows: records.parse(rows, ROW))))


def test_a_row_made_by_hand_is_read_number_by_number(file):
    rows = {name: value.numpy() for name, value in parsed(file).items()}
    seventh = {name: value[7].tolist() for name, value in rows.items()}
    assert seventh == {
        "token_ids": [2, 4, 307, 3, 70000, 3],
        "padding_mask": [1, 1, 1, 1, 1, 1],
        "segment_ids": [0, 0, 0, 0, 1, 1],
        "mask_positions": [1, 0],
        "mask_ids": [19, 0],
        "mask_weights": [1.0, 0.0],
        "next_sentence_labels": 1,
    }
    floats = {n for n, value in rows.items() if value.dtype == np.float32}
    assert floats == {"mask_weights"}
    assert {value.dtype.name for value in rows.values()} == {
        "int32",
        "float32",
    }


def test_rows_are_written_as_by_hand(file, tmp_path):
    copy = str(tmp_path / "copy")
    rows = parsed(file)
    assert records.write(copy, [records.serialize(rows)]) == 50
    for number, row in enumerate(tf.data.TFRecordDataset(copy)):
        assert tf.train.Example.FromString(row.numpy()) == published_row(number)


def test_lengths_and_number_of_rows_are_found(file):
    assert records.row_lengths(file) == ROW
    assert records.count_rows([file, file], ROW, VOCAB_SIZE) == 100


def test_a_missing_feature_is_named(tmp_path):
    path = str(tmp_path / "other.tfrecord")
    row = published_row(0)
    del row.features.feature["masked_lm_weights"]
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(row.SerializeToString())
    with pytest.raises(ValueError, match=r"other.*masked_lm_weights.*missing"):
        records.row_lengths(path)


@pytest.mark.parametrize("content", [b"", b"no record at all" * 10])
def test_a_file_that_holds_no_row_is_named(tmp_path, content):
    path = tmp_path / "other.tfrecord"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.tfrecord: "):
        records.row_lengths(str(path))


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_damage_names_file_and_row(file, tmp_path, damage):
    content = bytearray(pathlib.Path(file).read_bytes())
    size = len(content) // 50
    if damage == "cut":
        del content[30 * size + 100 :]
    else:
        content[30 * size + 100] ^= 1
    bad = tmp_path / "bad.tfrecord"
    bad.write_bytes(content)
    files = [file, str(bad)]
    message = r"bad\.tfrecord: damaged or truncated after 30 complete rows"
    with pytest.raises(ValueError, match=message):
        with records.explain_damage(files, ROW, VOCAB_SIZE):
            for _ in tf.data.TFRecordDataset(files).prefetch(2):
                pass


def test_counting_notices_what_tensorflow_does_not(file, tmp_path):
    content = pathlib.Path(file).read_bytes()
    bad = tmp_path / "bad.tfrecord"
    bad.write_bytes(content[: 30 * len(content) // 50 + 10])
    assert sum(1 for _ in tf.data.TFRecordDataset(str(bad))) == 30
    with pytest.raises(ValueError, match="truncated after 30 complete rows"):
        records.count_rows([str(bad)], ROW, VOCAB_SIZE)


def test_a_row_of_another_length_is_named(file):
    with pytest.raises(ValueError, match="row 1 does not have 7 tokens and 2"):
        records.count_rows([file], records.RowLengths(7, 2), VOCAB_SIZE)


def test_errors_that_are_not_damage_pass(file):
    with pytest.raises(tf.errors.InvalidArgumentError, match="mine"):
        with records.explain_damage([file], ROW, VOCAB_SIZE):
            raise tf.errors.InvalidArgumentError(None, None, "mine")


def write(path, *rows):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            writer.write(row.SerializeToString())
    return str(path)


@pytest.mark.parametrize(
    ("feature", "number"),
    [
        *(("input_ids", VOCAB_SIZE), ("input_ids", -1), ("segment_ids", 2)),
        *(("masked_lm_ids", VOCAB_SIZE), ("masked_lm_positions", 6)),
        *(("input_mask", 2), ("next_sentence_labels", 2)),
    ],
)
def test_a_number_that_cannot_be_is_named(tmp_path, feature, number):
    bad = published_row(2)
    bad.features.feature[feature].int64_list.value[0] = number
    path = write(tmp_path / "bad.tfrecord", *map(published_row, (0, 1)), bad)
    message = rf"bad\.tfrecord: row 3: {number} in {feature}; needs 0 to \d+\.$"
    with pytest.raises(ValueError, match=message):
        records.count_rows([path], ROW, VOCAB_SIZE)
    batches = tf.data.TFRecordDataset(path).batch(9)
    batches = batches.map(
        lambda x: records.checked(records.parse(x, ROW), ROW, VOCAB_SIZE)
    )
    with pytest.raises(ValueError, match=message):
        with records.explain_damage([path], ROW, VOCAB_SIZE):
            list(batches)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
def test_rows_may_lack_predictions_and_labels(file, tmp_path, masked, labelled):
    rows = parsed(file)
    if not masked:
        for name in ("mask_positions", "mask_ids", "mask_weights"):
            del rows[name]
    if not labelled:
        del rows["next_sentence_labels"]
    path = str(tmp_path / "rows.tfrecord")
    records.write(path, [records.serialize(rows)])
    found = records.row_lengths(path)
    assert found == (6, 2 if masked else 0, labelled, not labelled)
    assert records.count_rows([path], found, VOCAB_SIZE) == 50
    again = next(iter(tf.data.TFRecordDataset(path).batch(99)))
    again = records.parse(again, found)
    assert again.keys() == rows.keys()
    for name, value in rows.items():
        np.testing.assert_array_equal(again[name], value)
