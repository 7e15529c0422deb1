# SPDX-License-Identifier: Apache-2.0
import dataclasses
import fcntl
import itertools
import json
import operator
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kbert.data import (
    documents,
    record_sets,
    record_writer,
    records,
    workers,
)
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

NUM_DOCUMENTS, NUM_SENTENCES = 40, 24
# A sentence is two words that tell its document and its position there.
VOCABULARY = Vocabulary(
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
    next_sentence=True,
    packed=False,
    masked=True,
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
        [text], folder, vocabulary=VOCABULARY, options=OPTIONS
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


def sentences_of(token_ids):
    """Sentences as (document, position); the last may have lost it."""
    words = [VOCABULARY.tokens[i] for i in token_ids]
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
        assert (ids[length:] == VOCABULARY.pad_id).all()
        [first_sep, last_sep] = np.nonzero(ids == VOCABULARY.sep_id)[0]
        assert ids[0] == VOCABULARY.cls_id and last_sep == length - 1
        assert segments.tolist() == [0] * (first_sep + 1) + [1] * (
            last_sep - first_sep
        ) + [0] * (len(ids) - length)
        a = sentences_of(ids[1:first_sep])
        b = sentences_of(ids[first_sep + 1 : last_sep])
        for passage in (a, b):
            first = passage[0]
            expected = [(first[0], first[1] + i) for i in range(len(passage))]
            assert passage == expected
        follows = b[0] == (a[-1][0], a[-1][1] + 1)
        assert follows == (is_random == 0)
        assert (a[0][0] != b[0][0]) == (is_random == 1)


def test_counts_and_manifest_tell_what_is_there(made, rows):
    folder, statistics = made
    counts = statistics["counts"]
    num_sentences = NUM_DOCUMENTS * NUM_SENTENCES
    is_random = rows["next_sentence_labels"] == 1
    length = rows["padding_mask"].sum(1)
    negatives = set()
    for ids, segments in zip(
        unmasked(rows)[is_random], rows["segment_ids"][is_random], strict=True
    ):
        negatives.add(tuple(ids[segments == 1][:2].tolist()))
    row, column = np.nonzero(rows["mask_weights"])
    shown = rows["token_ids"][row, rows["mask_positions"][row, column]]
    hidden = rows["mask_ids"][row, column]
    masked, kept = shown == VOCABULARY.mask_id, shown == hidden
    assert counts == {
        "documents": NUM_DOCUMENTS,
        "sentences": num_sentences,
        "corpus_tokens": 2 * num_sentences,
        "rows": len(length),
        "texts": len(length),
        "short": counts["short"],
        "truncated": counts["truncated"],
        "true_next": (~is_random).sum(),
        "random_next": is_random.sum(),
        "distinct_negatives": len(negatives),
        "positions": rows["padding_mask"].size,
        "padding": (rows["padding_mask"] == 0).sum(),
        "tokens": length.sum(),
        "predictions": len(row),
        "masked": masked.sum(),
        "random": (~masked & ~kept).sum(),
        "kept": kept.sum(),
    }
    full = rows["padding_mask"].all(1).sum()
    assert 0 < counts["truncated"] <= full  # only full rows can be truncated
    assert statistics["lengths"] == {
        f"{low} to {low + 1}": np.isin(length, [low, low + 1]).sum()
        for low in range(1, 29, 2)
    }
    manifest = json.loads((folder / "records.json").read_text())
    assert {name: manifest[name] for name in statistics} == statistics
    assert dataclasses.asdict(OPTIONS).items() <= manifest.items()
    assert Vocabulary.load(folder / "vocab.txt") == VOCABULARY
    assert len(list(folder.iterdir())) == OPTIONS.num_shards + 3
    assert list(folder.parent.iterdir()) == [folder]


def test_shares_are_those_of_the_paper(text, tmp_path):
    shares = record_writer.make_records(
        [text],
        tmp_path / "many",
        vocabulary=VOCABULARY,
        options=dataclasses.replace(OPTIONS, dupe_factor=20, num_shards=1),
    )["shares"]
    assert abs(shares["true_next"] - 0.5) < 0.03
    assert abs(shares["short"] - 0.1) < 0.02
    assert abs(shares["predictions"] - 0.15) < 0.01
    assert abs(shares["masked"] - 0.8) < 0.02
    assert abs(shares["random"] - 0.1) < 0.015
    assert abs(shares["kept"] - 0.1) < 0.015


@pytest.mark.slow
def test_records_do_not_depend_on_the_number_of_workers(
    made, text, tmp_path, monkeypatch
):
    monkeypatch.setattr(documents, "_BLOCK_BYTES", 1000)
    record_writer.make_records(
        [text],
        tmp_path / "two",
        vocabulary=VOCABULARY,
        options=OPTIONS,
        workers=workers.Workers(2),
    )
    check_same(tmp_path / "two", made[0])


def check_same(folder, expected):
    names = sorted(file.name for file in expected.iterdir())
    assert sorted(file.name for file in folder.iterdir()) == names
    for name in names:
        assert (folder / name).read_bytes() == (expected / name).read_bytes()


@pytest.fixture
def stop_after(monkeypatch):
    """Makes a module's function raise when it was called some times."""

    def stop_after(module, name, times, error):
        calls = itertools.count()
        function = getattr(module, name)

        def stopping(*arguments):
            if next(calls) == times:
                raise error
            return function(*arguments)

        monkeypatch.setattr(module, name, stopping)

    return stop_after


@pytest.mark.parametrize(
    ("module", "name", "done"),
    [(documents, "tokenize", "work/block*"), (records, "write", "records-*")],
)
def test_a_run_that_was_stopped_resumes(
    made, text, tmp_path, monkeypatch, stop_after, module, name, done
):
    monkeypatch.setattr(documents, "_BLOCK_BYTES", 1000)
    stop_after(module, name, 2, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        make([text], tmp_path / "new")
    partial = tmp_path / "new.partial"
    assert list(tmp_path.iterdir()) == [partial]
    before = {path: path.stat().st_mtime_ns for path in partial.glob(done)}
    assert len(before) == 2
    left = partial / ".records-00003-of-00004.tfrecord.1"  # by a SIGKILL
    left.write_text("half")
    stop_after(module, name, 1, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        make([text], tmp_path / "new")
    after = {path: path.stat().st_mtime_ns for path in partial.glob(done)}
    assert len(after) == 3 and before.items() <= after.items()
    assert not left.exists()
    monkeypatch.undo()
    monkeypatch.setattr(documents, "_BLOCK_BYTES", 1000)
    make([text], tmp_path / "new")
    check_same(tmp_path / "new", made[0])
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


def test_a_run_killed_at_its_end_resumes(made, text, tmp_path, monkeypatch):
    rmtree = shutil.rmtree

    def killed(path, **options):
        if path.name == "work":
            raise KeyboardInterrupt
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        make([text], tmp_path / "new")
    monkeypatch.undo()
    assert (tmp_path / "new.partial" / "records.json").exists()
    make([text], tmp_path / "new")
    check_same(tmp_path / "new", made[0])


def test_a_full_disk_loses_nothing(made, text, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    partial = tmp_path / "new.partial"
    for limit, left in ((3000, "settings.json"), (20_000, "work/corpus")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(
                OSError, match="start again to resume"
            ) as caught:
                make([text], tmp_path / "new")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "File too large" in str(caught.value)
        assert str(partial) in str(caught.value)
        assert (partial / left).exists()
        for path in partial.glob("*.tfrecord"):  # only what is whole
            assert path.read_bytes() == (made[0] / path.name).read_bytes()
    make([text], tmp_path / "new")
    check_same(tmp_path / "new", made[0])


def test_a_run_with_other_settings_is_refused(text, tmp_path, stop_after):
    stop_after(records, "write", 0, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        make([text], tmp_path / "new")

    def again(message, files=(text,), vocabulary=VOCABULARY, **changed):
        with pytest.raises(ValueError, match=message) as caught:
            record_writer.make_records(
                files,
                tmp_path / "new",
                vocabulary=vocabulary,
                options=dataclasses.replace(OPTIONS, **changed),
            )
        assert "Give the same value to resume, or remove the folder" in str(
            caught
        )

    again(r"new\.partial: .* started it with seed 7, now it is 8", seed=8)
    again(
        'vocabulary "', vocabulary=dataclasses.replace(VOCABULARY, lower_case=0)
    )
    again(r'text\.txt "of [0-9]+ bytes.*", now it is missing', files=())
    (tmp_path / "other.txt").write_text("d1 s1")
    other = str(tmp_path / "other.txt")
    again(r'other\.txt missing, now it is "of 5 b', files=(text, other))
    os.utime(text, (1, 1))
    again(r"text\.txt .*, now it is .*, changed 1970")


def test_a_folder_that_another_process_fills_is_refused(text, tmp_path):
    partial = tmp_path / "new.partial"
    partial.mkdir()
    lock = os.open(partial, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match=r"new\.partial: another process"):
        make([text], tmp_path / "new")
    os.close(lock)
    (partial / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"new\.partial: exists, without"):
        make([text], tmp_path / "new")
    assert (partial / "notes.txt").exists()


def test_text_that_changes_while_it_is_read(text, tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    shutil.copy(text, path)
    tokenize = documents.tokenize

    def tokenize_and_change(*arguments):
        tokenize(*arguments)
        with open(path, "a") as file:
            file.write("d1 s1")

    monkeypatch.setattr(documents, "tokenize", tokenize_and_change)
    with pytest.raises(ValueError, match=r"text\.txt: changed while"):
        make([str(path)], tmp_path / "new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"text\.txt: no text"),
        ("\n \n", r"text\.txt: no text"),
        ("d1 s1\nd1 s2\n", r"text\.txt: only one document"),
        ("d1 s1\n\nd2 s1", r"text\.txt: none of 2 documents has two"),
    ],
)
def test_text_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "text.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        make([str(path)], tmp_path / "new")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("packed", [False, True])
def test_full_sentences_without_labels(text, tmp_path, packed):
    statistics = record_writer.make_records(
        [text],
        tmp_path / "full",
        vocabulary=VOCABULARY,
        options=dataclasses.replace(
            OPTIONS,
            next_sentence=False,
            packed=packed,
            masked=False,
            max_seq_length=40,
            num_shards=1,
            dupe_factor=1,
        ),
    )
    rows = read(tmp_path / "full")
    assert set(rows) == {"token_ids", "segment_ids", "padding_mask"}
    found = []
    for ids, mask in zip(rows["token_ids"], rows["padding_mask"], strict=True):
        for k in range(1, mask.max() + 1):
            found += sentences_of(ids[mask == k][1:-1])
    assert sorted(found) == [
        (d, s) for d in range(NUM_DOCUMENTS) for s in range(NUM_SENTENCES)
    ]
    assert (rows["padding_mask"].max() > 1) == packed
    counts, shares = statistics["counts"], statistics["shares"]
    assert "predictions" not in counts and "true_next" not in counts
    assert counts["texts"] >= counts["rows"] == len(rows["token_ids"])
    assert (shares["padding"] < 0.1) == packed


def test_another_seed_gives_other_records(rows, text, tmp_path):
    record_writer.make_records(
        [text],
        tmp_path / "other",
        vocabulary=VOCABULARY,
        options=dataclasses.replace(OPTIONS, seed=8),
    )
    other = read(tmp_path / "other")
    for one, two in (
        (rows["mask_positions"], other["mask_positions"]),
        (unmasked(rows), unmasked(other)),
    ):
        assert (one[:100] == two[:100]).all(1).mean() < 0.1


def test_the_same_text_again_with_another_vocabulary(rows, text, tmp_path):
    other = Vocabulary(
        (*SPECIAL_TOKENS, *VOCABULARY.tokens[: len(SPECIAL_TOKENS) - 1 : -1]),
        lower_case=True,
    )
    for vocabulary in (VOCABULARY, other):
        shutil.rmtree(tmp_path / "records", ignore_errors=True)
        record_writer.make_records(
            [text],
            tmp_path / "records",
            vocabulary=vocabulary,
            options=OPTIONS,
        )
    found = read(tmp_path / "records")
    same = np.array([VOCABULARY.tokens.index(token) for token in other.tokens])
    np.testing.assert_array_equal(same[unmasked(found)], unmasked(rows))


def test_each_pass_and_each_row_is_masked_anew(rows):
    positions = rows["mask_positions"][rows["mask_weights"].sum(1) > 3]
    assert len(np.unique(positions, axis=0)) > 0.9 * len(positions)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_seq_length": 7}, "max_seq_length is 7; needs 8 <= x"),
        ({"max_seq_length": 10**9}, "max_seq_length is 1000000000; needs 8 <"),
        ({"max_seq_length": "28"}, 'max_seq_length is "28"; needs a whole n'),
        ({"max_predictions": 29}, "max_predictions is 29; needs at most"),
        ({"max_predictions": 10**9}, "max_predictions is 1000000000; needs 1"),
        ({"masked_lm_prob": 1.0}, "masked_lm_prob is 1.0; needs 0 < x < 1"),
        ({"masked_lm_prob": 0.0}, "masked_lm_prob is 0.0; needs 0 < x < 1"),
        ({"max_ngram": 9}, "max_ngram is 9; needs at least 1 and at most max"),
        ({"max_ngram": 101}, "max_ngram is 101; needs 1 <= x <= 100"),
        ({"short_seq_prob": -0.1}, "short_seq_prob is -0.1; needs 0 <= x < 1"),
        ({"dupe_factor": 0}, "dupe_factor is 0; needs 1 <= x"),
        ({"dupe_factor": 10**9}, "dupe_factor is 1000000000; needs 1 <= x"),
        ({"num_shards": 10**9}, "num_shards is 1000000000; needs 1 <= x"),
        ({"seed": 2**32}, "seed is 4294967296; needs 0 <= x <= 4,294,967,295"),
        ({"packed": 1}, "packed is 1; needs true or false"),
        ({"packed": True}, "packed and next_sentence are both true"),
    ],
)
def test_options_that_make_no_sense(changed, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(OPTIONS, **changed)


def make(text_files, folder):
    record_writer.make_records(
        text_files, folder, vocabulary=VOCABULARY, options=OPTIONS
    )


def test_nothing_is_written_over(made, text, tmp_path):
    before = {file: file.stat().st_mtime_ns for file in made[0].iterdir()}
    with pytest.raises(ValueError, match="records: exists already"):
        make([text], made[0])
    after = {file: file.stat().st_mtime_ns for file in made[0].iterdir()}
    assert after == before


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
    # It divides a pipe: a quick end, without TensorFlow.
    monkeypatch.setattr(workers, "_serve", operator.floordiv)
    message = "worker process [0-9]+ ended with exit code 1 at this task"
    with workers.Workers(2) as some, pytest.raises(OSError, match=message):
        some.run(["this task"], print)


_WORKERS = """
import os, signal, sys, time
from kbert.data import workers

class Wait:
    amount = 1

    def __call__(self, report):
        print(os.getpid(), flush=True)
        time.sleep(60)
        print("still there", flush=True)

if __name__ == "__main__":
    with workers.Workers(2) as some:
        some.run([Wait(), Wait()], print)
"""


@pytest.mark.slow
def test_workers_end_with_a_caller_that_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(_WORKERS)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True
    ) as caller:
        assert caller.stdout is not None
        numbers = [int(caller.stdout.readline()) for _ in range(2)]
        caller.kill()
        assert caller.stdout.read() == ""  # once no worker has it open
    assert len(set(numbers)) == 2
