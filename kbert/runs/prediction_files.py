# SPDX-License-Identifier: Apache-2.0
"""The formats of files of predictions, which are written in chunks.

A file begins with `head`, followed by what `encode` makes of each chunk of
predictions, and `finish` completes it. Up to then bytes are only appended,
so that a run can be resumed.
"""

import abc
import functools
import importlib.util
import itertools
import json
import os
import pathlib
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kbert import json_files
from kbert.features import EMBEDDING
from kbert.tasks.predictor import BadText

Predictions = Sequence[Mapping[str, Any]]  # as a predictor returns them

_HEADER = 128  # bytes
_FLOAT = 4  # bytes
GROUP = 8192  # rows of a Parquet file's group


class PredictionFile(abc.ABC):
    """A format."""

    head: bytes = b""

    @abc.abstractmethod
    def encode(self, predictions: Predictions) -> bytes:
        """Some predictions.

        Raises: BadText for one that the format cannot hold.
        """

    @abc.abstractmethod
    def finish(self, path: pathlib.Path) -> pathlib.Path:
        """Completes the file, or writes another next to it: returns it."""


def of(path: str | os.PathLike, width: int | None) -> PredictionFile:
    """The format of a file of that name.

    Args:
        path: the file.
        width: H, where it is to have vectors.
    Raises: ValueError for an extension that no such file has, or if what
        .parquet needs is missing.
    """
    extension = pathlib.Path(path).suffix.lower()
    forms: dict[str, Callable[[], PredictionFile]]
    if width is None:
        forms = {
            ".jsonl": JsonLines,
            ".csv": Csv,
            ".tsv": Tsv,
            ".parquet": ParquetTable,
        }
    else:
        forms = {
            ".npy": functools.partial(Npy, width),
            ".parquet": functools.partial(Parquet, width),
        }
    if extension not in forms:
        raise ValueError(
            f"{path}: extension {extension!r}; needs {', '.join(forms)} for "
            f"{'answers' if width is None else 'embeddings'}."
        )
    return forms[extension]()


def check_stream(path: str | os.PathLike) -> None:
    """Checks that a FIFO or a device may get JSON Lines, by its name.

    Raises: ValueError, naming the path, for one such as a.csv.
    """
    extension = pathlib.Path(path).suffix.lower()
    if extension not in ("", ".jsonl"):
        raise ValueError(
            f"{path}: a FIFO or a device gets JSON Lines; needs .jsonl or no "
            f"extension instead of {extension!r}, or a regular file."
        )


class JsonLines(PredictionFile):
    """A JSON object a line."""

    def encode(self, predictions):
        # A kept column of a .parquet can hold dates and the like.
        lines = [
            json.dumps(row, ensure_ascii=False, default=str) + "\n"
            for row in predictions
        ]
        # A lone surrogate becomes what JSON calls it.
        return "".join(lines).encode("utf-8", "backslashreplace")

    def finish(self, path):
        return path


class Csv(JsonLines):
    """A table with a header, made of JSON Lines at the end.

    Each number of an object, such as a class's probability, has a column
    "object.name"; a list is JSON in its cell, and so is an object that is
    empty or whose columns would have another's name.
    """

    def _line(self, cells: Sequence[str]) -> str:
        # csv.writer leaves a carriage return bare where lines end with \n.
        quoted = [
            '"' + x.replace('"', '""') + '"' if set(x) & set('",\r\n') else x
            for x in cells
        ]
        return ",".join(quoted) or '""'

    def finish(self, path):
        columns = {}
        for row in _json_rows(path):
            columns.update(dict.fromkeys(_cells(row)))
        whole = path.with_name(".table")
        with whole.open(
            "w", encoding="utf-8", errors="backslashreplace", newline=""
        ) as file:
            file.write(self._line(list(columns)) + "\n")
            for row in _json_rows(path):
                cells = _cells(row)
                line = self._line([cells.get(name, "") for name in columns])
                file.write(line + "\n")
        return whole


class Tsv(Csv):
    """The same between tabs, as `kbert.data.tables` reads it.

    Nothing is quoted or escaped, as in the GLUE files: a backslash is one.
    """

    def encode(self, predictions):
        for index, row in enumerate(predictions):
            for name, cell in _cells(row).items():
                if set(name + cell) & set("\t\r\n"):
                    raise BadText(
                        index,
                        f"{name!r} is {cell[:40]!r}, and a .tsv holds no tab "
                        "or line break; needs an --output_file with .csv, "
                        ".jsonl or .parquet.",
                    )
        return super().encode(predictions)

    def _line(self, cells):
        return "\t".join(cells)


class ParquetTable(JsonLines):
    """A Parquet file of the predictions' fields, made of JSON Lines at the end.

    A field whose values have no one type is text, as in a CSV's cell.

    Raises: ValueError if pyarrow is not installed.
    """

    def __init__(self):
        _check_pyarrow(".jsonl")

    def finish(self, path):
        import pyarrow
        from pyarrow import parquet

        types = {}
        for rows in _groups(path):
            for name in dict.fromkeys(itertools.chain(*rows)):
                values = [row.get(name) for row in rows]
                known = types.get(name, pyarrow.null())
                types[name] = known and _common_type(known, values)
        schema = pyarrow.schema(
            [(name, kind or pyarrow.string()) for name, kind in types.items()]
        )
        whole = path.with_name(".parquet")
        with parquet.ParquetWriter(whole, schema) as writer:
            for rows in _groups(path):
                columns = [
                    [row.get(name) for row in rows]
                    if kind
                    else [_text(row.get(name)) for row in rows]
                    for name, kind in types.items()
                ]
                writer.write_table(pyarrow.table(columns, schema=schema))
        return whole


def _common_type(known, values):
    """The Arrow type of these values and of those known; None for no type."""
    import pyarrow

    try:
        found = pyarrow.array(values).type
        schema = pyarrow.unify_schemas(
            [pyarrow.schema([("", kind)]) for kind in (known, found)],
            promote_options="permissive",
        )
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):
        return None
    kind = schema.field(0).type
    return None if "struct<>" in str(kind) else kind  # no file can have it


def _text(value) -> str | None:
    if value is None:
        return None
    return _cell(value).encode("utf-8", "backslashreplace").decode()


def _json_rows(path):
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            yield json_files.parse(line, path, line=number)


def _groups(path):
    rows = _json_rows(path)
    while group := list(itertools.islice(rows, GROUP)):
        yield group


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    cells = {}
    for name, value in row.items():
        parts = {}
        if isinstance(value, dict):
            parts = {f"{name}.{key}": _cell(x) for key, x in value.items()}
        taken = row.keys() | cells.keys()
        cells |= (
            parts
            if parts and not parts.keys() & taken
            else {name: _cell(value)}
        )
    return cells


def _cell(value) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _check_pyarrow(other: str) -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError(
            ".parquet needs pyarrow: pip install 'kbert-keras[parquet]'; or "
            f"write {other}."
        )


class Npy(PredictionFile):
    """Vectors as a NumPy array (rows, H) float32.

    Source: numpy.lib.format, version 1.0.
    """

    def __init__(self, width: int):
        self.width = width
        self.head = self._header(0)

    def _header(self, rows: int) -> bytes:
        """As long for any number of rows, which is known at the end."""
        shape = f"({rows}, {self.width})"
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
        begin = b"\x93NUMPY\x01\x00" + struct.pack("<H", _HEADER - 10)
        return begin + text.ljust(_HEADER - 11).encode() + b"\n"

    def encode(self, predictions):
        vectors = np.stack([row[EMBEDDING] for row in predictions])
        return vectors.astype("<f4").tobytes()

    def num_rows(self, path: pathlib.Path) -> int:
        """How many there are in a file."""
        return (path.stat().st_size - _HEADER) // (_FLOAT * self.width)

    def finish(self, path):
        with open(path, "r+b") as file:
            file.write(self._header(self.num_rows(path)))
        return path


class Parquet(Npy):
    """Vectors as a Parquet column, "embedding", of lists of H floats.

    Raises: ValueError if pyarrow is not installed.
    """

    def __init__(self, width: int):
        super().__init__(width)
        _check_pyarrow(".npy")

    def finish(self, path):
        import pyarrow
        from pyarrow import parquet

        vectors = pyarrow.list_(pyarrow.float32(), self.width)
        schema = pyarrow.schema([(EMBEDDING, vectors)])
        whole = path.with_name(".parquet")
        with (
            open(path, "rb") as file,
            parquet.ParquetWriter(whole, schema) as writer,
        ):
            file.seek(_HEADER)
            for start in range(0, self.num_rows(path), GROUP):
                rows = min(GROUP, self.num_rows(path) - start)
                flat = np.fromfile(file, "<f4", rows * self.width)
                column = pyarrow.FixedSizeListArray.from_arrays(
                    pyarrow.array(flat), self.width
                )
                writer.write_batch(
                    pyarrow.record_batch([column], schema=schema)
                )
        return whole
