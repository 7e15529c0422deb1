# SPDX-License-Identifier: Apache-2.0
"""Predictions for any number of texts, in constant memory.

While a file of predictions is written, there is a folder next to it,
FILE.partial:

    settings.json  what the predictions depend on besides the texts
    answers        the predictions for the first chunks of rows, in order
    chunks         for each of them a line: where it ends in `answers`, and a
                   digest of its texts and of those before it

A run that was killed resumes after the last chunk whose texts are still the
same. Its predictions are those of a run without a break, bit by bit: rows of
a chunk go through the model together, and chunks are the same in both.
"""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from kbert import atomic_files, tasks
from kbert.data import tables
from kbert.runs import prediction_files
from kbert.tasks.masked_lm.predictor import MaskFiller
from kbert.tasks.multiple_choice import data as choices
from kbert.tasks.predictor import BadText, Predictor
from kbert.tasks.rows import DataOptions

AnyPredictor = Predictor | MaskFiller
Progress = Callable[[str, int, int], object]

_ROWS = 4096  # of a chunk; those of like length go through the model together


@dataclasses.dataclass(frozen=True)
class Texts:
    """Rows of texts, read as they are needed.

    Attributes:
        name: of the file, or the flag, for errors.
        num_lines: all there are; about as many as rows.
        rows: for each its line, or number, and its texts.
        ids: of the rows, in order, which their predictions repeat; empty if
            the file has none.
        keep: names of columns that the predictions have too, or ("*",) for all;
            a mapping of a row's columns then follows its texts.
    """

    name: str
    num_lines: int
    rows: Iterable[tuple[int, Sequence[Any]]]
    ids: Sequence[str] = ()
    keep: Sequence[str] = ()


class _Chunk(NamedTuple):
    lines: Sequence[int]
    columns: Sequence[Sequence[Any]]  # for each text of a row
    kept: Sequence[Mapping[str, Any]]  # what the predictions have of the input


def given_texts(
    predictor: AnyPredictor, texts: Sequence[str], second: Sequence[str]
) -> Texts:
    """The texts of the flags --text and --text_b.

    Raises: ValueError, naming the flag, if the predictor takes others.
    """
    if predictor.several:
        raise ValueError(
            "--text: the model takes lists of texts; needs --input with a "
            ".jsonl file."
        )
    if len(predictor.text_inputs) == 1:
        if second:
            raise ValueError("--text_b: the model takes single texts.")
        columns = [texts]
    elif len(texts) != len(second):
        raise ValueError(
            f"--text_b is given {len(second)} times, --text {len(texts)} "
            "times; the model takes pairs."
        )
    else:
        columns = [texts, second]
    rows = list(enumerate(zip(*columns, strict=True), start=1))
    return Texts("--text", len(rows), rows)


def file_texts(
    predictor: AnyPredictor,
    path: str,
    options: DataOptions,
    keep: Sequence[str] = (),
) -> Texts:
    """The texts of a table, or of a task's own kind of file.

    A table is read as it is needed, see `tables.stream`; any other file at
    once, by the task.

    Raises: ValueError, naming the flag, if the predictor takes another number
        of columns; OSError if the file cannot be read. Whatever is wrong in
        a table is a ValueError when its line is reached.
    """
    task: Any = tasks.task_class(predictor.spec.task)
    own = task.task in tasks.FINE_TUNED and "text_columns" not in task.takes
    if own and not _is_table(predictor, path, options):
        if keep:
            raise ValueError(f"--keep_columns: {path} is no table.")
        options.check(task.task, task.takes)
        found = task.read_texts(path, options)
        rows = enumerate(zip(*found.texts, strict=True), start=1)
        return Texts(path, len(found), rows, getattr(found, "ids", ()))
    spec, several = predictor.spec, options.choice_columns
    columns = options.text_columns
    if not (columns or several):  # those that the model was trained on
        columns, several = spec.text_columns, spec.choice_columns
        if len(columns) > len(predictor.text_inputs):
            columns = ()  # a query's with others than those to predict for
    columns = list(columns or predictor.text_inputs)
    if several and predictor.spec.task != "multiple_choice":
        raise ValueError(
            f"--choice_columns={','.join(several)}: the model's task is "
            f"{predictor.spec.task}."
        )
    if not several and len(columns) != len(predictor.text_inputs):
        raise ValueError(
            f"--text_columns={','.join(columns)}: needs "
            f"{len(predictor.text_inputs)} column names."
        )
    num_lines = tables.count_rows(path)
    form = {
        "header": options.header,
        "encoding": options.encoding,
        "whole": bool(keep),
    }
    if several:
        rows = choices.stream(path, columns, several, **form)
    else:
        rows = tables.stream(path, columns, lists=columns, **form)
    return Texts(path, num_lines, rows, keep=keep)


def _is_table(predictor, path, options) -> bool:
    """By its extension; a tagger's .tsv, by its header or the flags."""
    extension = tables.extension(path)
    if extension != ".tsv" or predictor.spec.task != "tagging":
        return extension in tables.EXTENSIONS
    if options.text_columns or options.header:
        return True
    return tables.has_columns(path, predictor.text_inputs, options.encoding)


class ChunkedPredictor:
    """Predictions for rows of texts, chunk by chunk.

    Args:
        predictor: of a model.
        options: of its `predict`.
        progress: called with a step's name, what is done and all there is.

    Attributes:
        num_rows: that have predictions, those of an earlier run included.
        num_truncated: those of them that lost tokens.
    """

    def __init__(
        self,
        predictor: AnyPredictor,
        options: Mapping[str, Any],
        progress: Progress,
    ):
        self.num_rows = self.num_truncated = 0
        self._predictor, self._options = predictor, options
        self._progress = progress

    def to_stream(self, texts: Texts, stream: TextIO) -> None:
        """Writes JSON Lines, each chunk as soon as it is done.

        Raises: ValueError, naming the file and the line of what is wrong.
        """
        form = prediction_files.JsonLines()
        for chunk in _chunks(texts):
            stream.write(form.encode(self._predictions(chunk, texts)).decode())
            stream.flush()
        self._report("predicting", texts.num_lines, texts)

    def to_file(
        self,
        texts: Texts,
        path: str | os.PathLike,
        settings: Mapping[str, Any],
    ) -> None:
        """Writes a file, which appears when it is complete.

        After an error or a kill, a call with the same settings resumes.

        Args:
            texts: to predict for.
            path: of the file, whose extension tells the format; one that is
                there is replaced. A FIFO or /dev/stdout is written to, as by
                `to_stream`, unless its name is that of another format.
            settings: what the predictions depend on besides the texts, as JSON.
        Raises: ValueError, naming the file and the line of what is wrong;
            OSError.
        """
        is_stream = atomic_files.is_stream(path)
        if not is_stream:
            atomic_files.check_file(path)
        width = getattr(self._predictor, "width", None)
        if is_stream and width is None:
            prediction_files.check_stream(path)
            with (
                atomic_files.open_stream(path) as stream,
                io.TextIOWrapper(stream, "utf-8") as text,
            ):
                self.to_stream(texts, text)
            return
        form = prediction_files.of(path, width)
        atomic_files.check_file(path)
        path = pathlib.Path(os.path.realpath(path))
        settings = {"input": texts.name, **settings}
        with atomic_files.partial_folder(path, settings) as folder:
            done = _Done(folder, form.head)
            try:
                with contextlib.closing(done):
                    self._fill(done, texts, form)
            except BaseException as error:
                if done.is_empty():
                    atomic_files.remove_folder(folder)
                elif isinstance(error, ValueError):
                    raise ValueError(
                        f"{error} {folder} keeps what is done: start again "
                        "to resume, or remove it."
                    ) from None
                raise
            atomic_files.move(form.finish(done.path), path)
            atomic_files.remove_folder(folder)

    def _fill(self, done, texts, form):
        for chunk in _chunks(texts):
            if done.has([chunk.columns, *chunk.kept]):
                self._report("reading", chunk.lines[-1], texts)
                self._count(chunk)
            else:
                found = self._predictions(chunk, texts)
                with _row_named(chunk, texts):
                    done.append(form.encode(found))
        done.cut()
        self._report("predicting", texts.num_lines, texts)

    def _predictions(self, chunk, texts) -> list[dict[str, Any]]:
        first, last = chunk.lines[0], chunk.lines[-1]

        def progress(done, total):
            line = first + (last - first) * done // total
            self._report("predicting", line, texts)

        with _row_named(chunk, texts):
            found = self._predictor.predict(
                *chunk.columns, progress=progress, **self._options
            )
        self._count(chunk)
        if not chunk.kept:
            return found
        return [
            _named_apart(kept, row) | row
            for kept, row in zip(chunk.kept, found, strict=True)
        ]

    def _count(self, chunk):
        self.num_rows += len(chunk.lines)
        self.num_truncated += self._predictor.num_truncated(*chunk.columns)

    def _report(self, step, line, texts):
        self._progress(step, line, max(line, texts.num_lines))


class _Done:
    """The predictions that are done, those of whole chunks."""

    _LINE = 20 + 1 + 32 + 1  # bytes, in the list of chunks

    def __init__(self, folder: pathlib.Path, head: bytes):
        self.path = folder / "answers"
        self._head_size = self._end = len(head)
        self._num_chunks = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._file = open(self.path, "ab")
        self._list = open(folder / "chunks", "a+b")
        if self._size() < len(head):
            self._file.truncate(0)
            self._file.write(head)
            self._file.flush()
        self._list.seek(0)
        # An incomplete line is none.
        self._known = iter(lambda: self._list.read(self._LINE), b"")

    def _size(self) -> int:
        return self.path.stat().st_size

    def is_empty(self) -> bool:
        """Whether nothing is done, in this run or an earlier one."""
        return self._size() == self._head_size

    def has(self, texts: Sequence[Any]) -> bool:
        """Whether the next chunk, of these texts, is done.

        If it is not, it and all that follow are deleted.
        """
        self._digest.update(json.dumps(texts, default=str).encode())
        line = next(self._known, b"")
        end, digest = line[:20], line[21:-1]
        if digest == self._digest.hexdigest().encode():
            if self._end <= int(end) <= self._size():
                self._end = int(end)
                self._num_chunks += 1
                return True
        self.cut()
        return False

    def cut(self) -> None:
        """Deletes what follows the chunks that there were up to now."""
        self._known = iter(())
        self._file.truncate(self._end)
        self._list.truncate(self._num_chunks * self._LINE)

    def append(self, predictions: bytes) -> None:
        """Adds those of the chunk that `has` was called with."""
        self._file.write(predictions)
        self._file.flush()
        os.fsync(self._file.fileno())  # before `chunks` lists it
        self._end += len(predictions)
        self._num_chunks += 1
        line = f"{self._end:020} {self._digest.hexdigest()}\n"
        self._list.write(line.encode())
        self._list.flush()

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        self._list.close()


@contextlib.contextmanager
def _row_named(chunk: _Chunk, texts: Texts) -> Iterator[None]:
    """Raises: ValueError, naming file and line, for a BadText."""
    try:
        yield
    except BadText as error:
        where = f"{texts.name}:{chunk.lines[error.row]}"
        raise ValueError(f"{where}: {error.why}") from None


def _chunks(texts: Texts) -> Iterator[_Chunk]:
    rows = iter(texts.rows)
    while some := list(itertools.islice(rows, _ROWS)):
        lines, values = zip(*some, strict=True)
        columns, kept = list(zip(*values, strict=True)), []
        if texts.keep:
            *columns, records = columns
            kept = [
                _picked(record, texts.keep, f"{texts.name}:{line}")
                for line, record in zip(lines, records, strict=True)
            ]
        elif texts.ids:
            kept = [{"id": texts.ids[line - 1]} for line in lines]
        yield _Chunk(lines, columns, kept)


def _picked(record, names, where) -> dict[str, Any]:
    """The columns to keep of a row."""
    if list(names) == ["*"]:
        return dict(record)
    if missing := [name for name in names if name not in record]:
        raise ValueError(
            f"{where}: no column {missing[0]!r} (--keep_columns); there are "
            f"{list(record)}."
        )
    return {name: record[name] for name in names}


def _named_apart(kept, prediction) -> dict[str, Any]:
    """Kept columns; input_NAME where the prediction has a NAME too."""
    named = {}
    for name, value in kept.items():
        free = name
        # An input that was predicted before may have an input_NAME too.
        while free in prediction or (free != name and free in kept | named):
            free = f"input_{free}"
        named[free] = value
    return named
