# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil

import numpy as np
import pytest

from kbert.data import record_sets, records
from kbert.text.vocabulary import Vocabulary


def write_rows(path, num_rows, length=6):
    rows = {
        name: np.full((num_rows, columns), value)
        for name, columns, value in (
            *(("token_ids", length, 7), ("padding_mask", length, 1)),
            *(("segment_ids", length, 0), ("mask_positions", 2, 1)),
            *(("mask_ids", 2, 9),),
        )
    }
    rows["mask_weights"] = np.ones((num_rows, 2), "float32")
    rows["next_sentence_labels"] = np.arange(num_rows) % 2
    return records.write(str(path), [records.serialize(rows)])


def make_folder(folder, vocabulary, length=6):
    """Two files, of 3 and of 5 rows."""
    folder.mkdir()
    rows = {
        f"records-{i}.tfrecord": write_rows(
            folder / f"records-{i}.tfrecord", 3 + 2 * i, length
        )
        for i in range(2)
    }
    record_sets.write_manifest(
        folder,
        rows,
        vocabulary=vocabulary,
        made_with={
            "max_seq_length": length,
            "max_predictions": 2,
            "next_sentence": True,
            "packed": False,
            "masked": True,
            "seed": 1,
        },
        statistics={"counts": {"rows": 8}},
    )
    return folder


@pytest.fixture
def folder(tmp_path, vocabulary):
    return make_folder(tmp_path / "records", vocabulary)


@pytest.fixture
def other_vocabulary(vocabulary):
    return Vocabulary(vocabulary.tokens, lower_case=False)


def test_a_folder_tells_all(folder, vocabulary):
    found = record_sets.find(str(folder), vocabulary=vocabulary)
    assert [file[-10:] for file in found.files] == ["0.tfrecord", "1.tfrecord"]
    assert found.num_rows == 8
    assert found.row == records.RowLengths(6, 2)
    assert record_sets.find(str(folder)).vocabulary == vocabulary
    one = record_sets.find(f"{folder}/*1.tfrecord", max_positions=6)
    assert (len(one.files), one.num_rows) == (1, 5)
    manifest = json.loads((folder / "records.json").read_text())
    assert manifest["vocab_size"] == len(vocabulary)
    assert manifest["lower_case"] is True
    assert manifest["counts"] == {"rows": 8}


def test_folders_and_files_of_others_go_together(tmp_path, folder, vocabulary):
    write_rows(tmp_path / "foreign.tfrecord", 4)
    both = f"{folder},{tmp_path}/foreign.tfrecord"
    found = record_sets.find(both, vocabulary=vocabulary)
    assert (len(found.files), found.num_rows) == (3, 12)


def test_files_of_others_need_a_vocabulary(tmp_path):
    write_rows(tmp_path / "foreign.tfrecord", 4)
    with pytest.raises(ValueError, match=r"foreign.*vocabulary is unknown"):
        record_sets.find(f"{tmp_path}/foreign.tfrecord")


def test_another_vocabulary_is_refused(folder, other_vocabulary, tmp_path):
    message = r"records-0.*15 tokens, uncased.*of the model \(15 tokens, cased"
    with pytest.raises(ValueError, match=message):
        record_sets.find(str(folder), vocabulary=other_vocabulary)
    make_folder(tmp_path / "second", other_vocabulary)
    message = r"second/records-0.*, cased.*records/records-0.*, uncased"
    with pytest.raises(ValueError, match=message):
        record_sets.find(f"{folder},{tmp_path}/second")
    shutil.copy(tmp_path / "second" / "vocab.json", folder)
    with pytest.raises(ValueError, match=r"records\.json: made with another"):
        record_sets.find(str(folder))


def test_another_length_is_refused(folder, vocabulary, tmp_path):
    with pytest.raises(ValueError, match=r"records-0.*rows of 6 .* at most 5"):
        record_sets.find(str(folder), max_positions=5)
    longer = make_folder(tmp_path / "longer", vocabulary, length=8)
    with pytest.raises(ValueError, match=r"length=6.*longer.*length=8"):
        record_sets.find(f"{folder},{longer}")


def test_a_file_of_another_size_is_named(folder):
    file = folder / "records-1.tfrecord"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"records-1.tfrecord has \d+ bytes"):
        record_sets.find(str(folder))
    shutil.copy(folder / "records-0.tfrecord", folder / "records-7.tfrecord")
    with pytest.raises(ValueError, match=r"records-7.*not among its files"):
        record_sets.find(f"{folder}/*7.tfrecord")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "records.json:1: not JSON"),
        ("{}", "records.json: fields .*'format_version'.* missing"),
        ('{"format_version": 9}', "records.json: format_version is 9; needs 1"),
        ("[]", "records.json: "),
        ("[" * 10**5, "records.json:1: .*nested"),
    ],
)
def test_a_damaged_manifest_is_named(folder, content, message):
    (folder / "records.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        record_sets.find(str(folder))


def _leave_out(path):
    pass


def _link_to_itself(path):
    path.symlink_to(path.name)


def _link_to_nothing(path):
    path.symlink_to("nothing")


@pytest.mark.parametrize("pattern", ["{}", "{}/*.tfrecord", "{}/records-[01]*"])
@pytest.mark.parametrize(
    ("put", "message"),
    [
        (_leave_out, "is missing"),
        (os.mkdir, "is a folder"),
        (os.mkfifo, "a FIFO"),
        (_link_to_itself, "a broken link"),
        (_link_to_nothing, "a broken link"),
    ],
)
def test_a_listed_file_that_is_none_is_named(folder, pattern, put, message):
    file = folder / "records-0.tfrecord"
    file.unlink()
    put(file)
    with pytest.raises(ValueError, match=f"records-0.tfrecord:? {message}"):
        record_sets.find(pattern.format(folder))
    one = record_sets.find(f"{folder}/records-1.tfrecord")
    assert one.num_rows == 5


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("masked", 10**9, "masked is 1000000000; needs true or false"),
        ("packed", "no", 'packed is "no"; needs true or false'),
        ("next_sentence", None, "next_sentence is null; needs true or false"),
        ("max_seq_length", [6], r"max_seq_length is \[6\]; needs a whole"),
        ("max_seq_length", -6, "max_seq_length is -6; needs 1 <= x"),
        ("max_seq_length", 10**9, "max_seq_length is 10*; needs 1 <= x"),
        ("max_seq_length", 10**5, "0.tfrecord has .*too few for 3 rows of"),
        ("max_predictions", 2.5, "max_predictions is 2.5; needs a whole"),
        ("max_predictions", 7, "max_predictions is 7; needs at most max_seq"),
        ("fingerprint", 3, "fingerprint is 3; needs a string"),
        ("files", ["0.tfrecord"], "files is .*; needs an object"),
        ("files", {"records-0.tfrecord": 9}, 'files."records-0.tfrecord" is 9'),
        (
            "files",
            {"records-0.tfrecord": {"rows": 1e9, "bytes": 1}},
            "rows is 1000000000.0; needs a whole",
        ),
    ],
)
def test_odd_fields_of_a_manifest_are_named(folder, field, value, message):
    path = folder / "records.json"
    fields = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**fields, field: value}), "utf-8")
    with pytest.raises(ValueError, match=rf"records\.json: .*{message}"):
        record_sets.find(str(folder))
