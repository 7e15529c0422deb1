# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import operator

import numpy as np
import pytest
import tensorflow as tf

from kbert.data import record_sets, record_writer, records
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

NUM_DOCUMENTS, NUM_SENTENCES = 40, 24
# A sentence is two words that tell its document and its place there.
PLACES = Vocabulary(
    (
        *SPECIAL_TOKENS,
        *(f"d{i}" for i in range(NUM_DOCUMENTS)),
        *(f"s{i}" for i in range(NUM_SENTENCES)),
    ),
    lower_case=True,
)
OPTIONS = record_writer.RecordOptions(
    max_seq_length=28,
    max_predictions=4,
    masked_lm_prob=0.15,
    whole_words=False,
    max_ngram=1,
    short_seq_prob=0.1,
    dupe_factor=2,
    num_shards=4,
    seed=7,
)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    documents = [
        "".join(f"d{d} s{s}\n" for s in range(NUM_SENTENCES))
        for d in range(NUM_DOCUMENTS)
    ]
    path.write_text("\n".join(documents))
    return str(path)


@pytest.fixture(scope="module")
def made(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "new" / "records"
    counts = record_writer.make_records(
        [text], folder, vocabulary=PLACES, options=OPTIONS
    )
    return folder, counts


@pytest.fixture(scope="module")
def rows(made):
    return read(made[0])


def read(folder):
    found = record_sets.find(str(folder))
    raw = tf.data.TFRecordDataset(found.files).batch(100_000)
    parsed = records.parse(next(iter(raw)), found.row)
    return {name: value.numpy() for name, value in parsed.items()}


def unmasked(rows):
    """Token ids as they were before some were masked."""
    token_ids = rows["token_ids"].copy()
    row, column = np.nonzero(rows["mask_weights"])
    positions = rows["mask_positions"][row, column]
    token_ids[row, positions] = rows["mask_ids"][row, column]
    return token_ids


def places(token_ids):
    """Sentences as (document, place); the last may have lost its place."""
    words = [PLACES.tokens[i] for i in token_ids]
    documents = [int(word[1:]) for word in words[::2]]
    known = [int(word[1:]) for word in words[1::2]]
    if len(known) < len(documents):
        known.append(known[-1] + 1)
    return list(zip(documents, known, strict=True))


def test_rows_are_pairs_of_passages(rows):
    for ids, segments, mask, is_random in zip(
        unmasked(rows),
        rows["segment_ids"],
        rows["padding_mask"],
        rows["next_sentence_labels"],
        strict=True,
    ):
        length = mask.sum()
        assert (mask[:length] == 1).all()
        assert (ids[length:] == PLACES.pad_id).all()
        [first_sep, last_sep] = np.nonzero(ids == PLACES.sep_id)[0]
        assert ids[0] == PLACES.cls_id and last_sep == length - 1
        assert segments.tolist() == [0] * (first_sep + 1) + [1] * (
            last_sep - first_sep
        ) + [0] * (len(ids) - length)
        a = places(ids[1:first_sep])
        b = places(ids[first_sep + 1 : last_sep])
        for passage in (a, b):
            first = passage[0]
            wanted = [(first[0], first[1] + i) for i in range(len(passage))]
            assert passage == wanted
        follows = b[0] == (a[-1][0], a[-1][1] + 1)
        assert follows == (is_random == 0)
        assert (a[0][0] != b[0][0]) == (is_random == 1)


def test_counts_and_manifest_tell_what_is_there(made, rows):
    folder, counts = made
    num_sentences = NUM_DOCUMENTS * NUM_SENTENCES
    assert counts == {
        "documents": NUM_DOCUMENTS,
        "sentences": num_sentences,
        "corpus_tokens": 2 * num_sentences,
        "pairs": len(rows["token_ids"]),
        "random_next": rows["next_sentence_labels"].sum(),
        "cut": counts["cut"],
        "tokens": rows["padding_mask"].sum(),
        "predictions": int(rows["mask_weights"].sum()),
    }
    assert abs(counts["random_next"] / counts["pairs"] - 0.5) < 0.1
    full = rows["padding_mask"].all(1).sum()
    assert 0 < counts["cut"] <= full  # only a full row can have been cut
    manifest = json.loads((folder / "records.json").read_text())
    assert manifest["counts"] == counts
    assert dataclasses.asdict(OPTIONS).items() <= manifest.items()
    assert Vocabulary.load(folder / "vocab.txt") == PLACES
    assert len(list(folder.iterdir())) == OPTIONS.num_shards + 3
    assert list(folder.parent.iterdir()) == [folder]


def test_records_do_not_depend_on_the_number_of_workers(made, text, tmp_path):
    record_writer.make_records(
        [text],
        tmp_path / "two",
        vocabulary=PLACES,
        options=OPTIONS,
        num_workers=2,
    )
    for file in sorted(made[0].iterdir()):
        assert (tmp_path / "two" / file.name).read_bytes() == file.read_bytes()


def test_another_seed_gives_other_records(rows, text, tmp_path):
    record_writer.make_records(
        [text],
        tmp_path / "other",
        vocabulary=PLACES,
        options=dataclasses.replace(OPTIONS, seed=8),
    )
    other = read(tmp_path / "other")
    for one, two in (
        (rows["mask_positions"], other["mask_positions"]),
        (unmasked(rows), unmasked(other)),
    ):
        assert (one[:100] == two[:100]).all(1).mean() < 0.1


def test_each_pass_and_each_row_is_masked_anew(rows):
    positions = rows["mask_positions"][rows["mask_weights"].sum(1) > 3]
    assert len(np.unique(positions, axis=0)) > 0.9 * len(positions)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_seq_length": 7}, "max_seq_length is 7; wanted 8"),
        ({"max_predictions": 29}, "max_predictions is 29; wanted at most"),
        ({"masked_lm_prob": 1.0}, "masked_lm_prob is 1.0"),
        ({"masked_lm_prob": 0.0}, "masked_lm_prob is 0.0"),
        ({"short_seq_prob": -0.1}, "short_seq_prob is -0.1"),
        ({"dupe_factor": 0}, "dupe_factor is 0"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
    ],
)
def test_options_that_make_no_sense(changed, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(OPTIONS, **changed)


def make(text_files, folder):
    record_writer.make_records(
        text_files, folder, vocabulary=PLACES, options=OPTIONS
    )


def test_nothing_is_written_over(made, text, tmp_path):
    before = {file: file.stat().st_mtime_ns for file in made[0].iterdir()}
    with pytest.raises(ValueError, match="records: is there already"):
        make([text], made[0])
    after = {file: file.stat().st_mtime_ns for file in made[0].iterdir()}
    assert after == before
    (tmp_path / "new.partial").mkdir()
    with pytest.raises(ValueError, match=r"new\.partial: another run"):
        make([text], tmp_path / "new")


def test_nothing_half_written_is_left(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"d1 s1\n" * 9000 + b"\xff")
    with pytest.raises(ValueError, match=r"text\.txt:9001: not UTF-8"):
        make([str(path)], tmp_path / "new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(text, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=str(tmp_path / "file")):
        make([text], tmp_path / "file" / "records")


def test_a_worker_that_dies_is_an_error(monkeypatch):
    # It divides a list: a quick end, without TensorFlow.
    monkeypatch.setattr(record_writer, "_work", operator.floordiv)
    with pytest.raises(OSError, match="worker process ended with exit code 1"):
        list(record_writer._make_in_processes([1, 2], 2))
