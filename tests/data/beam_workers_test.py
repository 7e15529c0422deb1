# SPDX-License-Identifier: Apache-2.0
"""Beam's DirectRunner makes the records of one process; errors are plain."""

import os
import subprocess
import sys

import pytest

from kbert import atomic_files
from kbert.data import documents, record_writer, records
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

pytest.importorskip("apache_beam")
from kbert.data.beam_workers import BeamWorkers  # noqa: E402

WORDS = [f"w{i}" for i in range(50)]
VOCABULARY = Vocabulary((*SPECIAL_TOKENS, *WORDS), lower_case=True)
OPTIONS = record_writer.RecordOptions(
    max_seq_length=24,
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
# Such a path keeps Beam from downloading another runner.
FLAGS = ("--prism_location=none", "--direct_num_workers=2")
THREADS = (*FLAGS, "--direct_running_mode=multi_threading")


def write_text(path):
    lines = (
        " ".join(WORDS[(7 * i + 3 * j) % 50] for j in range(i % 9 + 1))
        + "\n" * (1 + (i % 13 == 0))
        for i in range(300)
    )
    path.write_text("".join(lines))
    return str(path)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def local(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("local") / "records"
    record_writer.make_records(
        [text], folder, vocabulary=VOCABULARY, options=OPTIONS
    )
    return folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch, local):  # `local` computes on all cores first
    monkeypatch.setattr(documents, "_BLOCK_BYTES", 1500)


def make(text, folder, flags=THREADS):
    record_writer.make_records(
        [text],
        folder,
        vocabulary=VOCABULARY,
        options=OPTIONS,
        workers=BeamWorkers("DirectRunner", flags),
    )


def check_same(folder, expected):
    names = sorted(file.name for file in expected.iterdir())
    assert sorted(file.name for file in folder.iterdir()) == names
    for name in names:
        assert (folder / name).read_bytes() == (expected / name).read_bytes()


@pytest.fixture
def fail(monkeypatch):
    """Lets errors be raised once each, from the last file's beginning on."""

    def fail(*errors):
        write = records.write
        left, started = list(errors), set()

        def write_or_fail(file, rows):
            started.add(file.partition("records-")[2][:5])
            if len(started) == OPTIONS.num_shards and left:
                raise left.pop()
            write(file, rows)

        monkeypatch.setattr(records, "write", write_or_fail)
        return left

    return fail


def test_records_are_those_of_one_process(text, local, tmp_path):
    assert len(documents.blocks([text])) > 3
    make(text, tmp_path / "beam")
    check_same(tmp_path / "beam", local)
    assert list(tmp_path.iterdir()) == [tmp_path / "beam"]


def test_an_error_that_passes_is_tried_again(text, local, tmp_path, fail):
    left = fail(*[OSError("stale file handle")] * 2)
    make(text, tmp_path / "beam")
    check_same(tmp_path / "beam", local)
    assert not left


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_what_fails_in_beam_loses_nothing(
    text, local, tmp_path, monkeypatch, kind
):
    def fail(self):
        raise kind("no environment 'DOKCER'.\nUsage: ...")

    with monkeypatch.context() as patched:
        patched.setattr("apache_beam.Pipeline.run", fail)
        with pytest.raises(
            OSError, match="^Beam: no env.*OKCER'.. .*start again"
        ):
            make(text, tmp_path / "beam")
    assert [file.name for file in tmp_path.iterdir()] == ["beam.partial"]
    make(text, tmp_path / "beam")
    check_same(tmp_path / "beam", local)


def test_a_run_that_failed_resumes(text, local, tmp_path, fail):
    left = fail(*[OSError("disk full")] * 9)
    with pytest.raises(OSError, match="^disk full.* start again to resume"):
        make(text, tmp_path / "beam")
    partial = tmp_path / "beam.partial"
    before = {f: f.stat().st_mtime_ns for f in partial.glob("records-*")}
    assert 1 < len(before) < 4  # of which the threads were not busy with
    left.clear()
    make(text, tmp_path / "beam")
    check_same(tmp_path / "beam", local)
    for file, time in before.items():
        assert (tmp_path / "beam" / file.name).stat().st_mtime_ns == time


def test_bad_text_leaves_nothing(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"w1 w2\n" * 900 + b"\xff\n" + b"w1\n" * 900)
    with pytest.raises(ValueError, match=r"^\S+text\.txt:901: not UTF-8"):
        make(str(path), tmp_path / "new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_bug_keeps_its_traceback(text, tmp_path, fail):
    fail(KeyError("lost"))
    with pytest.raises(RuntimeError, match="(?s)Traceback.*KeyError: 'lost'"):
        make(text, tmp_path / "new")


def test_work_stops_without_its_token(text, tmp_path, monkeypatch):
    started, ended = [], []

    def lose_token(block, tokenizer, folder, report):
        started.append(block)
        for token in folder.parent.glob("pipeline-*"):
            token.unlink(missing_ok=True)
        report(1)
        ended.append(block)

    monkeypatch.setattr(documents, "tokenize", lose_token)
    message = r"block-00000\d: missing after .*DONE.*; needs a file system"
    with pytest.raises(OSError, match=message):
        make(text, tmp_path / "new")
    # Three pipelines, and two threads in each, while there are more blocks.
    assert 3 <= len(started) <= 6 and not ended


def test_two_may_write_the_same_at_once(tmp_path):
    file, folder = tmp_path / "file", tmp_path / "folder"
    for _ in range(2):
        with (
            atomic_files.writing_folder(folder, "keep") as first,
            atomic_files.writing_folder(folder, "keep") as second,
            atomic_files.writing_file(file) as third,
            atomic_files.writing_file(file) as fourth,
        ):
            for new in (first / "f", second / "f", third, fourth):
                new.write_text("the same")
    assert sorted(tmp_path.rglob("*")) == [file, folder, folder / "f"]


@pytest.mark.slow
def test_bad_text_is_one_line_of_the_command(tmp_path):
    VOCABULARY.save(tmp_path)
    (tmp_path / "text.txt").write_bytes(b"w1 w2\n" * 900 + b"\xff\n")
    command = [sys.executable, "-m", "kbert.bin.make_records"]
    flags = ["--input=text.txt", "--vocab=vocab.txt", "--output_dir=new"]
    beam = ["--runner=DirectRunner", "--", *THREADS]
    done = subprocess.run(
        [*command, *flags, *beam],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    start = f"kbert-make-records: error: {tmp_path}/text.txt:901: not UTF-8"
    assert done.stderr.startswith(start)
    assert not list(tmp_path.glob("new*"))
