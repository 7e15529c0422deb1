# SPDX-License-Identifier: Apache-2.0
"""Files of answers: in order, and the same after every kind of stop."""

import contextlib
import csv
import functools
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from kbert.data import tables
from kbert.runs import predicting, prediction_files
from kbert.tasks import TaskSpec
from kbert.tasks.predictor import Predictor
from kbert.tasks.rows import DataOptions
from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

ROWS, CHUNK = 60, 8
FORMATS = ("jsonl", "npy", "parquet")


class Lengths(Predictor):
    """How long a text is, and how long the longest of its batch.

    So answers differ if other rows go through the graph together.
    """

    text_inputs = ("text",)

    def __init__(self):
        vocabulary = Vocabulary((*SPECIAL_TOKENS, "a"), lower_case=True)
        spec = TaskSpec(task="encoder", max_seq_length=8)
        super().__init__(None, vocabulary=vocabulary, spec=spec)
        self.seen = []

    def _outputs(self, text):
        length = tf.strings.length(text)
        longest = tf.zeros_like(length) + tf.reduce_max(length)
        return {"numbers": tf.stack([length, longest], axis=1)}

    def _rows(self, answers, columns):
        self.seen += columns[0]
        return [
            {"text": text, "numbers": row.tolist()}
            for text, row in zip(columns[0], answers["numbers"], strict=True)
        ]


class Vectors(Lengths):
    """The same as embeddings."""

    width = 2

    def _rows(self, answers, columns):
        self.seen += columns[0]
        return [{"embedding": row / 7} for row in answers["numbers"]]


@functools.cache  # tracing takes a while
def _predictor(cls):
    return cls()


class Choices(Lengths):
    """Several texts a row, and the one."""

    text_inputs = ("text", "choices")
    several = ("choices",)

    def _outputs(self, text, choices):
        return {"numbers": tf.strings.length(choices)}

    def _groups(self, text, choices):
        return []


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(predicting, "_ROWS", CHUNK)


@pytest.fixture
def table(tmp_path):
    return _write(tmp_path / "texts.tsv", _texts())


def _texts():
    # The lengths go up and down; one text is empty, one has an accent.
    texts = ["x" * (i * 7 % 31) + str(i) for i in range(ROWS)]
    return [*texts[:20], "", "é", *texts[22:]]


def _write(path, texts):
    lines = "".join(f"{i}\t{text}\n" for i, text in enumerate(texts))
    path.write_text("id\ttext\n" + lines, "utf-8")
    return path


def _run(
    table,
    output,
    progress=lambda *step: None,
    predictor=None,
    settings=None,
    columns=("text",),
    keep=(),
):
    """Returns the texts that went through the graph."""
    if predictor is None:
        predictor = _predictor(
            Lengths if output.suffix == ".jsonl" else Vectors
        )
    predictor.seen = []
    texts = predicting.file_texts(
        predictor, str(table), DataOptions(text_columns=columns), keep
    )
    predicting.ChunkedPredictor(predictor, {"batch_size": 3}, progress).to_file(
        texts, output, settings or {"batch_size": 3}
    )
    return predictor.seen


class Stop(Exception):
    pass


def _stop_at(line):
    def progress(step, done, total):
        if step == "predicting" and done >= line:
            raise Stop

    return progress


@pytest.fixture
def interrupted(table, tmp_path):
    """A function: a run that stopped in chunk 6, of an output's name."""

    def begin(name):
        output = tmp_path / name
        with pytest.raises(Stop):
            _run(table, output, _stop_at(43))
        assert not output.exists()
        return output, tmp_path / f"{name}.partial"

    return begin


def test_a_fifo_is_written_to(table, tmp_path):
    _run(table, tmp_path / "a.jsonl", lambda *_: None)
    fifo = tmp_path / "fifo.jsonl"
    os.mkfifo(fifo)
    got = []
    reader = threading.Thread(
        target=lambda: got.append(fifo.read_bytes()), daemon=True
    )
    reader.start()
    _run(table, fifo, lambda *_: None)
    assert fifo.is_fifo()  # else nobody ends the reader
    reader.join()
    assert got == [(tmp_path / "a.jsonl").read_bytes()]


def test_what_is_no_file_is_not_replaced(table, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    for name in ("loop", "folder"):
        with pytest.raises(ValueError, match=f"{name}: .*; needs a file to w"):
            _run(table, tmp_path / name, lambda *_: None)
    names = {"texts.tsv", "loop", "folder"}
    assert {p.name for p in tmp_path.iterdir()} == names


def test_answers_are_in_order_and_progress_tells_lines(table, tmp_path):
    steps = []
    seen = _run(table, tmp_path / "a.jsonl", lambda *step: steps.append(step))
    rows = [
        json.loads(line)
        for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()
    ]
    assert [row["text"] for row in rows] == _texts()
    lengths = [len(text.encode()) for text in _texts()]
    assert [row["numbers"][0] for row in rows] == lengths
    assert seen != _texts()  # those of like length go together
    assert sorted(seen) == sorted(_texts())
    assert {p.name for p in tmp_path.iterdir()} == {"texts.tsv", "a.jsonl"}
    names, done, total = zip(*steps, strict=True)
    assert (set(names), set(total)) == ({"predicting"}, {ROWS + 1})
    assert list(done) == sorted(done)
    assert (done[-1], len(done)) == (ROWS + 1, 3 * 7 + 2 + 1)


@pytest.mark.parametrize("extension", FORMATS)
def test_a_stopped_run_resumes_wherever_it_was_truncated(
    extension, interrupted, tmp_path
):
    if extension == "parquet":
        pytest.importorskip("pyarrow")
    want = tmp_path / f"whole.{extension}"
    _run(tmp_path / "texts.tsv", want)
    output, partial = interrupted(f"a.{extension}")
    kept = shutil.copytree(partial, tmp_path / "kept")
    left = _texts()[5 * CHUNK :]

    def again(cut=0, chunks_cut=0, more=b""):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(kept, partial)
        answers, chunks = partial / "answers", partial / "chunks"
        os.truncate(answers, answers.stat().st_size - cut)
        os.truncate(chunks, chunks.stat().st_size - chunks_cut)
        with open(answers, "ab") as file:
            file.write(more)
        seen = _run(tmp_path / "texts.tsv", output)
        assert output.read_bytes() == want.read_bytes()
        assert not partial.exists()
        return sorted(seen)

    assert again() == sorted(left)
    assert again(more=b'{"text": "cut of') == sorted(left)
    assert again(chunks_cut=1) == sorted(_texts()[4 * CHUNK :])
    assert again(cut=1) == sorted(_texts()[4 * CHUNK :])
    assert again(chunks_cut=200) == sorted(_texts()[CHUNK:])
    size = (kept / "answers").stat().st_size
    assert again(cut=size) == again(cut=size - 5) == sorted(_texts())


@pytest.mark.slow
def test_a_run_that_is_killed_resumes(table, tmp_path):
    output, want = tmp_path / "a.jsonl", tmp_path / "whole.jsonl"
    _run(table, want)
    # Not as a script, whose own folder would come before kbert's.
    start = "import runpy, sys; runpy.run_path(sys.argv[1], {}, '__main__')"
    command = [sys.executable, "-c", start, __file__, table, output]
    done = subprocess.run(command)
    assert done.returncode == -signal.SIGKILL
    assert not output.exists()
    assert sorted(_run(table, output)) == sorted(_texts()[5 * CHUNK :])
    assert output.read_bytes() == want.read_bytes()


def test_a_bad_line_is_named_and_what_was_done_stays(tmp_path):
    path, output = tmp_path / "texts.tsv", tmp_path / "a.jsonl"
    _write(path, _texts())
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:49], "only one field\n", *lines[50:]]))
    message = r"texts.tsv:50: 1 fields; .*a.jsonl.partial keeps what is done"
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            _run(path, output)
    assert not output.exists()
    _write(path, _texts())  # mended
    assert sorted(_run(path, output)) == sorted(_texts()[48:])
    _run(path, tmp_path / "whole.jsonl")
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        (["another", *_texts()[1:]], 0),
        ([*_texts()[:20], "no more empty", *_texts()[21:]], 16),
        (_texts()[:12], 8),
        (_texts()[:16], 16),
    ],
)
def test_answers_to_other_texts_are_not_kept(
    texts, first, interrupted, tmp_path
):
    output, _ = interrupted("a.jsonl")
    table = _write(tmp_path / "texts.tsv", texts)
    assert sorted(_run(table, output)) == sorted(texts[first:])
    _run(table, tmp_path / "whole.jsonl")
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_run_with_other_settings_is_refused(interrupted, tmp_path):
    output, partial = interrupted("a.jsonl")
    before = (partial / "answers").read_bytes()
    with pytest.raises(ValueError, match="with batch_size 3, now it is 4"):
        _run(tmp_path / "texts.tsv", output, settings={"batch_size": 4})
    other = _write(tmp_path / "other.tsv", _texts())
    with pytest.raises(ValueError, match="with input .*texts.tsv.*other.tsv"):
        _run(other, output)
    assert (partial / "answers").read_bytes() == before


def test_nothing_is_left_where_nothing_was_done(table, tmp_path):
    output = tmp_path / "a.jsonl"
    with pytest.raises(ValueError, match=r"texts.tsv:1: no column 't'.*\.$"):
        _run(table, output, columns=["t"])
    with pytest.raises(Stop):
        _run(table, output, _stop_at(1))
    with pytest.raises(ValueError, match="^--text_columns=id,text: needs 1 c"):
        _run(table, output, columns=["id", "text"])
    with pytest.raises(FileNotFoundError, match=r"none.tsv'$"):
        _run(tmp_path / "none.tsv", output)
    with pytest.raises(ValueError, match="'.npy'; needs .jsonl, .csv, .tsv"):
        _run(table, tmp_path / "a.npy", predictor=_predictor(Lengths))
    with pytest.raises(ValueError, match="'.jsonl'; needs .npy, .parquet"):
        _run(table, output, predictor=_predictor(Vectors))
    with pytest.raises(ValueError, match=r"2: no column 'no' \(--keep_col"):
        _run(table, output, keep=["id", "no"])
    with pytest.raises(ValueError, match=r": a folder; needs a file to wri"):
        _run(table, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["texts.tsv"]


class Nested(Lengths):
    """Answers of all kinds of values, with what a cell has to quote."""

    def _rows(self, answers, columns):
        self.seen += columns[0]
        return [
            {
                "text": f'"{text}",\\',
                "by_class": {"a": int(row[0]), "b": 0.5},
                "spans": [{"start": 1}] if int(row[0]) > 40 else [],
                "none": None,
            }
            for text, row in zip(columns[0], answers["numbers"], strict=True)
        ]


def _cells(path):
    """A file of answers as another program reads it."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))
    lines = path.read_text("utf-8").removesuffix("\n").split("\n")
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("keep", [["id", "text"], ["*"]])
def test_tables_of_answers_with_columns_of_the_input(
    name, keep, table, tmp_path
):
    predictor, texts = _predictor(Nested), _texts()
    with pytest.raises(Stop):
        _run(table, tmp_path / name, _stop_at(43), predictor, keep=keep)
    assert (
        len(_run(table, tmp_path / name, predictor=predictor, keep=keep)) < ROWS
    )
    header, *rows = _cells(tmp_path / name)
    assert header == [
        *("id", "input_text", "text", "by_class.a", "by_class.b"),
        *("spans", "none"),
    ]
    assert rows == [
        [str(i), x, f'"{x}",\\', str(len(x.encode())), "0.5", "[]", ""]
        for i, x in enumerate(texts)
    ]
    _run(table, tmp_path / f"whole.{name}", predictor=predictor, keep=keep)
    whole = (tmp_path / f"whole.{name}").read_bytes()
    assert (tmp_path / name).read_bytes() == whole


def test_a_column_to_keep_is_part_of_a_runs_rows(table, tmp_path):
    """Its answers are made again where its values have changed."""
    output = tmp_path / "a.jsonl"
    with pytest.raises(Stop):
        _run(table, output, _stop_at(43), keep=["id"])
    table.write_text(table.read_text("utf-8").replace("\n0\t", "\nzero\t"))
    assert len(_run(table, output, keep=["id"])) == ROWS
    first, *_ = output.read_text("utf-8").splitlines()
    assert json.loads(first)["id"] == "zero"


def test_truncated_rows_are_counted(tmp_path):
    """Six tokens fit, seven do not; long words are one token, [UNK].

    Those that an earlier run has answered count too.
    """
    texts = ["a " * 6, "a " * 7, "x" * 50, "a " * 8 + "\u00e9"] * 5
    table = _write(tmp_path / "texts.tsv", texts)
    predictor, options = _predictor(Lengths), DataOptions(text_columns=["text"])
    for progress in (_stop_at(18), lambda *_: None):
        chunks = predicting.ChunkedPredictor(predictor, {}, progress)
        read = predicting.file_texts(predictor, str(table), options)
        predictor.seen = []
        with contextlib.suppress(Stop):
            chunks.to_file(read, tmp_path / "a.jsonl", {})
    assert len(predictor.seen) == 4
    assert (chunks.num_rows, chunks.num_truncated) == (20, 10)


def test_answers_as_parquet(table, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    output = tmp_path / "a.parquet"
    _run(table, output, predictor=_predictor(Nested), keep=["id"])
    rows = parquet.read_table(output).to_pylist()
    assert [row["id"] for row in rows] == [str(i) for i in range(ROWS)]
    assert rows[1]["by_class"] == {"a": len(_texts()[1]), "b": 0.5}
    assert (rows[1]["spans"], rows[1]["none"]) == ([], None)


def _answers_to(records, output, keep, predictor=Lengths):
    """The rows of a file of answers to JSON Lines, with kept columns."""
    if output.suffix == ".parquet":
        pytest.importorskip("pyarrow")
    lines = "".join(json.dumps(record) + "\n" for record in records)
    table = output.with_name("in.jsonl")
    table.write_text(lines, "utf-8")
    _run(table, output, predictor=_predictor(predictor), keep=keep)
    if output.suffix == ".jsonl":
        return list(map(json.loads, output.read_text("utf-8").splitlines()))
    if output.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        return parquet.read_table(output).to_pylist()
    header, *rows = _cells(output)
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.parquet"])
@pytest.mark.parametrize("early", [True, False])
def test_a_field_that_some_rows_lack_is_kept(name, early, tmp_path):
    records = [{"text": "a"}, {"text": "b", "id": "7"}]
    rows = records[::-1] if early else records
    found = _answers_to(rows, tmp_path / name, ["*"])
    assert [row.get("id") or None for row in found] == [
        row.get("id") for row in rows
    ]


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        (["x", 7], ["x", "7"]),
        ([7, "x"], ["7", "x"]),
        ([7, *["x"] * 5], ["7", *["x"] * 5]),  # in different groups of rows
        ([{}, {}], ["{}", "{}"]),
        ([2**70, 1], [str(2**70), "1"]),
        (["\ud800", "a"], ["\\ud800", "a"]),
        ([[1], "x", None], ["[1]", "x", None]),
    ],
)
def test_values_of_no_one_type_are_text(values, cells, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_files, "GROUP", 3)
    records = [{"text": "a", "id": value} for value in values]
    for name in ("a.csv", "a.parquet"):
        found = _answers_to(records, tmp_path / name, ["id"])
        assert [row["id"] or None for row in found] == cells


BREAKS = ("\t", "\r", "\n", "\r\n")
MARKS = ("\\t", "\\n", "\\\\", "\\", '"', ",", " ", "\u2028", "\ufeff", "")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_cell_is_read_as_it_was_written(name, tmp_path):
    """By ourselves, and of a CSV by Python."""
    marks = MARKS if name == "a.tsv" else (*MARKS, *BREAKS)
    notes = [f"{a}u{a}v{a}" for a in marks]
    records = [{"text": "a", "note": note} for note in notes]
    rows = _answers_to(records, tmp_path / name, ["note"])
    assert [row["note"] for row in rows] == notes
    read = tables.read_table(str(tmp_path / name), ["text", "note"], None)
    assert read.texts == (["a"] * len(notes), notes)


@pytest.mark.parametrize("mark", BREAKS)
def test_a_tsv_is_refused_for_what_it_cannot_hold(mark, tmp_path):
    message = r"^\S*in.jsonl:2: 'note' is 'u.*; needs an --output_file with .cs"
    records = [{"text": "a", "note": x} for x in ("u", f"u{mark}v")]
    with pytest.raises(ValueError, match=message):
        _answers_to(records, tmp_path / "a.tsv", ["note"])
    with pytest.raises(ValueError, match=r"in.jsonl:1: 'u.*' is '1', and a .t"):
        _answers_to([{"text": "a", f"u{mark}v": "1"}], tmp_path / "a.tsv", "*")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "a.parquet", "a.txt"])
def test_a_fifo_of_another_formats_name_is_refused(name, table, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}: a FIFO or .* gets JSON Lin"):
        _run(table, tmp_path / name, predictor=_predictor(Lengths))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "v.parquet"])
def test_a_file_is_on_the_disk_before_it_has_its_name(
    name, table, tmp_path, monkeypatch
):
    synced, sync, replace = {}, os.fsync, os.replace

    def fsync(descriptor):
        found = os.fstat(descriptor)
        synced[found.st_ino] = found.st_size
        sync(descriptor)

    def renamed(new, path):
        if os.fspath(path).endswith(name):
            found = os.stat(new)
            assert synced.get(found.st_ino) == found.st_size
            synced["renamed"] = True
        replace(new, path)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", renamed)
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    predictor = _predictor(Vectors if name == "v.parquet" else Lengths)
    _run(table, tmp_path / name, predictor=predictor)
    assert synced["renamed"]


def test_no_kept_column_takes_the_name_of_another(tmp_path):
    record = {"input_text": "1", "text": "a", "by_class.a": "2"}
    (row,) = _answers_to([record], tmp_path / "a.jsonl", ["*"], Nested)
    assert (row["input_text"], row["input_input_text"]) == ("1", "a")
    (row,) = _answers_to([record], tmp_path / "a.csv", ["*"], Nested)
    assert (row["by_class.a"], json.loads(row["by_class"])) == (
        *("2", {"a": 1, "b": 0.5}),
    )


def test_a_file_that_is_there_is_replaced_at_the_end(table, tmp_path):
    output = tmp_path / "a.jsonl"
    output.write_text("old")
    with pytest.raises(Stop):
        _run(table, output, _stop_at(43))
    assert output.read_text() == "old"
    _run(table, output)
    assert len(output.read_text("utf-8").splitlines()) == ROWS


def test_vectors_as_numpy_and_parquet_read_them(table, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("kbert.runs.prediction_files.GROUP", 25)
    _run(table, tmp_path / "a.npy")
    _run(table, tmp_path / "a.parquet")
    got = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert (got.shape, got.dtype) == ((ROWS, 2), np.float32)
    lengths = np.array([len(text.encode()) for text in _texts()], "float32")
    np.testing.assert_array_equal(got[:, 0], lengths / np.float32(7))
    file = parquet.ParquetFile(tmp_path / "a.parquet")
    assert file.num_row_groups == 3
    column = file.read()["embedding"]
    np.testing.assert_array_equal(np.array(column.to_pylist(), "f4"), got)


def test_parquet_without_pyarrow_names_the_extra(table, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"install 'kbert-keras\[parquet\]'"):
        _run(table, tmp_path / "a.parquet")


def test_lists_of_texts_stream_and_wrong_ones_are_named(tmp_path):
    table, output = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    columns = ["c", "t"]
    rows = [{"t": ["aa", "b"][: i % 3], "c": f"{i}"} for i in range(12)]
    table.write_text("\n".join(map(json.dumps, rows)) + "\n")
    _run(table, output, predictor=_predictor(Choices), columns=columns)
    answers = [json.loads(x) for x in output.read_text().splitlines()]
    assert [row["text"] for row in answers] == [row["c"] for row in rows]
    assert answers[2]["numbers"][:2] == [2, 1]
    for row, message in (
        ({"c": "x", "t": "y"}, r"a.jsonl:11: choices is 'y'; needs a list"),
        ({"c": ["x"], "t": []}, r"a.jsonl:11: text is \['x'\]; needs a text"),
        ({"c": "x", "t": [1]}, "a.jsonl:11: 't' is .*; needs a string or a li"),
    ):
        rows[10] = row
        table.write_text("\n".join(map(json.dumps, rows)) + "\n")
        with pytest.raises(ValueError, match=message):
            _run(table, output, predictor=_predictor(Choices), columns=columns)


class Classified(Lengths):
    """Of a task that has tables alone."""

    def __init__(self):
        super().__init__()
        self.spec = TaskSpec(
            task="classification", max_seq_length=8, labels=("a", "b")
        )


@pytest.mark.parametrize("columns", [["text"], None])
def test_a_file_of_another_kind_is_named(columns, tmp_path):
    path = tmp_path / "a.doc"
    path.write_text("text\nx\n")
    options = DataOptions(text_columns=columns)
    with pytest.raises(ValueError, match=r"a.doc: extension '.doc'; needs .ts"):
        next(iter(predicting.file_texts(Classified(), str(path), options).rows))


@pytest.mark.parametrize("predictor", [Classified, Vectors])
def test_a_text_file_has_a_text_a_line(predictor, tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b'id, text\n\n "x"\tb\n'))
    texts = predicting.file_texts(predictor(), str(path), DataOptions())
    assert list(texts.rows) == [(1, ["id, text"]), (2, [""]), (3, [' "x"\tb'])]
    assert texts.num_lines == 3


@pytest.mark.parametrize(
    ("header", "columns", "name"),
    [
        ("id,text", None, ".csv"),
        ('"a b","text"', None, ".csv"),
        ("label\tsentence", ["sentence"], ".tsv"),
    ],
)
def test_a_table_called_txt_is_refused(header, columns, name, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(f"{header}\n1,A film.\n")
    options = DataOptions(text_columns=columns)
    message = f"a.txt:1: .* the header of a table.*; rename the file to {name},"
    with pytest.raises(ValueError, match=message):
        next(iter(predicting.file_texts(Classified(), str(path), options).rows))


class Questions(Lengths):
    """Of a task with a separate file."""

    text_inputs = ("question", "context")

    def __init__(self):
        super().__init__()
        self.spec = TaskSpec(
            task="question_answering", num_texts=2, max_seq_length=8
        )

    def _outputs(self, question, context):
        return super()._outputs(context)


def _squad(path, ids):
    qas = [{"id": x, "question": "?", "answers": []} for x in ids]
    # An answer that is not there, of a question that wants one all the same.
    qas[1]["answers"] = [{"text": "y", "answer_start": 7}]
    paragraph = {"context": "x", "qas": qas}
    path.write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    return path


def test_answers_tell_the_ids_of_all_questions(tmp_path):
    output, predictor = tmp_path / "out.jsonl", _predictor(Questions)
    ids = [f"q{i}" for i in range(20)]
    table = _squad(tmp_path / "a.json", ids)
    with pytest.raises(Stop):
        _run(table, output, _stop_at(18), predictor, columns=None)
    ids[0] = "other"  # whose answer is not that of before
    _run(_squad(table, ids), output, predictor=predictor, columns=None)
    answers = [json.loads(x) for x in output.read_text().splitlines()]
    assert [row["id"] for row in answers] == ids
    assert answers[1]["numbers"] == [1, 1]


def test_words_need_no_tags(tmp_path):
    predictor = Choices()
    predictor.spec = TaskSpec(
        task="tagging", max_seq_length=8, labels=("O", "B-x")
    )
    table = tmp_path / "a.conll"
    table.write_text("New\nYork\n\nNew\n")
    texts = predicting.file_texts(predictor, str(table), DataOptions())
    assert list(texts.rows) == [(1, (["New", "York"],)), (2, (["New"],))]


class Tagger(Lengths):
    def __init__(self):
        super().__init__()
        self.spec = TaskSpec(
            task="tagging", max_seq_length=8, labels=("O", "B-x")
        )


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("id\ttext\n1\tA film\n", None, [(2, ["A film"])]),
        ("id\tt\n1\tA film\n", ["t"], [(2, ["A film"])]),
        ("New\tB-x\nYork\tO\n", None, [(1, (["New", "York"],))]),
        ("1\tNew\tB-x\tO\n", None, [(1, (["New"],))]),
        ("id\tt\n1\tfilm\n", None, "a.tsv:1: .* name the table's column wi"),
    ],
)
def test_a_tsv_for_a_tagger_is_a_table_or_words(text, columns, rows, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    options = DataOptions(text_columns=columns)

    def read():
        return [*predicting.file_texts(Tagger(), str(path), options).rows]

    if isinstance(rows, list):
        assert read() == rows
    else:
        with pytest.raises(ValueError, match=rows):
            read()


@pytest.mark.parametrize(
    ("task", "name", "message"),
    [
        (
            "summarization",
            "a.txt",
            "a.txt: needs a .jsonl or a .parquet with a",
        ),
        ("summarization", "a.csv", "a.csv:1: no column 'sentences'; there are"),
        ("question_answering", "a.txt", "a.txt: needs questions and contexts,"),
        ("question_answering", "a.csv", "a.csv:1: no column 'question'; there"),
        ("question_answering", "a.json", "a.json:1: not JSON"),
        ("multiple_choice", "a.txt", "a.txt: extension '.txt'; needs .tsv, .c"),
        ("multiple_choice", "a.csv", "a.csv:1: no column 'text'; there are"),
    ],
)
def test_what_a_task_cannot_read_is_refused(task, name, message, tmp_path):
    predictor = Lengths()
    fields = {"settings": {"num_choices": 2}} if "choice" in task else {}
    predictor.spec = TaskSpec(task=task, max_seq_length=8, **fields)
    predictor.text_inputs = {
        "summarization": ("sentences",),
        "question_answering": ("question", "context"),
        "multiple_choice": ("text", "choices"),
    }[task]
    (tmp_path / name).write_text("a,b\nA film,Two films\n")
    with pytest.raises(ValueError, match=message) as caught:
        texts = predicting.file_texts(
            predictor, str(tmp_path / name), DataOptions()
        )
        next(iter(texts.rows))
    assert "\n" not in str(caught.value)


def test_a_lone_surrogate_stays_one(tmp_path):
    table, output = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    table.write_text('{"text": "\\ud800 \\u00e9"}\n')
    _run(table, output)
    assert json.loads(output.read_text("utf-8"))["text"] == "\ud800 é"


if __name__ == "__main__":  # a run that kills itself, for the test above
    import pathlib

    def kill(step, done, total):
        if done >= 43:
            os.kill(os.getpid(), signal.SIGKILL)

    predicting._ROWS = CHUNK
    _run(*map(pathlib.Path, sys.argv[2:]), kill)
