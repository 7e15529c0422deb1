# SPDX-License-Identifier: Apache-2.0
"""Labelled texts from a table: TSV, CSV, JSON Lines or Parquet."""

import contextlib
import csv
import dataclasses
import importlib.util
import json
import math
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from kbert import json_files
from kbert.input_files import check_regular
from kbert.text import files

EXTENSIONS = (".tsv", ".csv", ".jsonl", ".parquet")
# What pandas, R and spreadsheets write where there is no label, in any case.
_MISSING = {"", "nan", "na", "n/a", "#na", "#n/a", "<na>", "null"}
_SHOWN = 20  # labels or columns that an error lists
_Flags = Mapping[str, str]  # by column, what names it on the command line

_ROWS = 1024  # of a Parquet file, read at once
_LONGEST_FIELD = 2**31 - 1  # of CSV; Python's own limit is 131,072
_LARGEST = 3.4028235e38  # of float32


@dataclasses.dataclass(frozen=True)
class Rows:
    """The wanted columns of one table.

    Attributes:
        path: the file; "" of rows from lists.
        lines: for each row the line it starts on, or its number, from 1.
        texts: for each text column its strings.
        labels: the label column, None if none was asked for.
    """

    path: str
    lines: list[int]
    texts: tuple[list[str], ...]
    labels: list[str] | None

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.lines)


def read_table(
    path: str,
    text_columns: Sequence[str],
    label_column: str | None,
    *,
    header: Sequence[str] | None = None,
    encoding: str = "utf-8",
    empty_labels: bool = False,
) -> Rows:
    """Reads the texts, and the labels if any, of a table: see `stream`.

    Args:
        path: see `stream`, as for the next four.
        text_columns: their names.
        label_column: its name, or None.
        header: the names of all columns, or None.
        encoding: of the file.
        empty_labels: whether a row's label may be blank.
    Raises: as `stream` does, and for a blank label, and for half of a
        surrogate pair, which JSON can have.
    """
    lines = []
    columns = [[] for _ in range(len(text_columns) + bool(label_column))]
    for line, values in stream(
        path,
        text_columns,
        label_column,
        header=header,
        encoding=encoding,
    ):
        if label_column and not (empty_labels or values[-1].strip()):
            raise ValueError(f"{path}:{line}: {label_column!r} is empty.")
        lines.append(line)
        for column, value in zip(columns, values, strict=True):
            check_text(f"{path}:{line}", value)
            column.append(value)
    labels = columns.pop() if label_column else None
    return Rows(path, lines, tuple(columns), labels)


def stream(
    path: str,
    text_columns: Sequence[str],
    label_column: str | None = None,
    *,
    header: Sequence[str] | None = None,
    encoding: str = "utf-8",
    lists: Collection[str] = (),
    text_flag: str = "--text_columns",
    whole: bool = False,
) -> Iterator[tuple[int, list[Any]]]:
    """Yields the rows of a table of any length, one at a time.

    The extension tells the format. Empty lines are skipped, but in a .tsv of
    one column, where they are empty texts.
        .tsv: a header, then fields between tabs; quotes are characters like
            others, as in the GLUE files.
        .csv: a header, then fields as in RFC 4180; quoted ones may hold
            commas, doubled quotes and newlines.
        .jsonl: one object a line. Texts are strings, labels strings, numbers
            or true and false, which become their spelling in JSON.
        .parquet: columns as in .jsonl; needs pyarrow.
        .txt: a text a line, for one text column and no label.
    All but .parquet may be zipped: NAME.csv.gz.

    Args:
        path: the file.
        text_columns: names of columns.
        label_column: the same, or None.
        header: the names of all columns, of a .tsv or .csv whose first line
            is a row already.
        encoding: of the file, as Python names it.
        lists: text columns that may hold lists of strings in a .jsonl or a
            .parquet.
        text_flag: what names text columns, for errors.
        whole: whether a dict of all columns of the row follows its values.
    Yields: the line that a row starts on (of a .parquet the row), from 1,
        and its texts, then its label if one was asked for.
    Raises: OSError; ValueError, naming file and line, for a line that is not
        of the encoding or not of the format, a column that is not there or
        there twice, a row with too few or too many fields, a row that equals
        the header, or a table without rows.
    """
    flags = dict.fromkeys(text_columns, text_flag)
    if label_column:
        flags[label_column] = "--label_column"
    line = None
    for line, record in _records(path, flags, header, encoding, whole):
        where = f"{path}:{line}"
        _check_columns(where, list(record), flags)
        values = [_text(where, record, c, c in lists) for c in text_columns]
        if label_column:
            values.append(_label(where, record, label_column))
        yield line, [*values, record] if whole else values
    if line is None:
        raise ValueError(f"{path}: no rows.")


def count_rows(path: str) -> int:
    """How many rows a table has, or a few more: for showing progress.

    Raises: as `stream` does.
    """
    if extension(path) == ".parquet":
        with _opened_parquet(path) as file:
            return file.metadata.num_rows
    with files.opened(path) as file:
        blocks = iter(lambda: file.read(1 << 20), b"")
        return sum(block.count(b"\n") for block in blocks)


def extension(path: str | os.PathLike) -> str:
    """That tells the format: .csv of A.CSV, and of a.csv.gz."""
    name = str(path).lower()
    found = pathlib.Path(name.removesuffix(".gz")).suffix
    if found in (".tsv", ".csv", ".jsonl", ".txt"):
        return found
    return pathlib.Path(name).suffix


def is_missing(label: str) -> bool:
    """Whether a label is what stands where there is none, such as "NaN"."""
    return label.strip().lower() in _MISSING or label == "None"


def check_text(where: str, text: str) -> None:
    """Raises: ValueError, naming the place, for what no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{where}: {json.dumps(text)[:40]}: half of a surrogate pair is "
            "no text."
        ) from None


def where(path: str, line: int) -> str:
    """Names a row in messages: of a file, or of lists, which have no path."""
    return f"{path}:{line}" if path else f"Row {line}"


def check_labels(
    path: str,
    lines: Sequence[int],
    by_row: Sequence[Sequence[str]],
    known: Collection[str] = (),
) -> None:
    """Sees that no label stands for a missing one.

    Args:
        path: the file.
        lines: of its rows.
        by_row: the labels of each row.
        known: what is a label whatever it looks like.
    Raises: ValueError, naming file and line.
    """
    for line, found in zip(lines, by_row, strict=True):
        for label in found:
            if is_missing(label) and label not in known:
                raise ValueError(
                    f"{where(path, line)}: label {label!r} usually stands for "
                    "a missing one; needs a label. If it is one, name all of "
                    "them with --labels."
                )


def label_ids(
    rows: Rows, by_row: Sequence[Sequence[str]], labels: Sequence[str]
) -> list[list[int]]:
    """The indices of each row's labels in a model's labels.

    Args:
        rows: that have them.
        by_row: the labels of each row.
        labels: the model's.
    Raises: ValueError, naming file and line, for a label not among them.
    """
    ids = {label: i for i, label in enumerate(labels)}
    for line, found in zip(rows.lines, by_row, strict=True):
        for label in found:
            if label not in ids:
                raise ValueError(
                    f"{where(rows.path, line)}: label {label!r} is not one of "
                    f"{_listed(labels)}."
                )
    return [[ids[label] for label in found] for found in by_row]


def _listed(names: Sequence[str]) -> str:
    """The names, of many the first ones."""
    more = len(names) - _SHOWN
    return f"{list(names)[:_SHOWN]}{f' and {more:,} more' * (more > 0)}"


def label_numbers(rows: Rows) -> list[float]:
    """The labels as numbers.

    Raises: ValueError, naming file and line, for one that is no number.
    """
    numbers = []
    for line, label in zip(rows.lines, rows.labels or (), strict=True):
        try:
            # Python reads 1_000 too.
            number = math.nan if "_" in label else float(label)
        except ValueError:
            number = math.nan
        if not abs(number) <= _LARGEST:
            raise ValueError(
                f"{where(rows.path, line)}: label {label!r}; needs a number, "
                f"of {_LARGEST:.1e} at most."
            )
        numbers.append(number)
    return numbers


def _tsv_fields(path: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(files.read_lines(path, encoding), start=1):
        yield number, line.split("\t")


def _csv_fields(path: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    # A quoted field keeps the newlines that it has.
    lines = files.read_lines(path, encoding, keep_ends=True)
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(lines, strict=True)
    start = 1
    try:
        for fields in reader:
            yield start, fields or [""]  # an empty line, as in a TSV
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{start}: not CSV: {error}.") from None


def _records(
    path: str,
    flags: _Flags,
    header: Sequence[str] | None,
    encoding: str,
    whole: bool,
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each row, a mapping of its columns: all of them if it has to be whole."""
    form = extension(path)
    if form == ".jsonl":
        return _unlike_header(path, json_objects(path, encoding))
    if form == ".parquet":
        return _unlike_header(path, _parquet_rows(path, flags, whole))
    if form == ".txt" and len(flags) == 1:
        lines = enumerate(files.read_lines(path, encoding), start=1)
        lines = _unlike_table(path, lines, list(flags))
        return ((number, dict.fromkeys(flags, x)) for number, x in lines)
    if form not in EXTENSIONS:
        raise ValueError(
            f"{path}: extension {form!r}; needs .tsv, .csv, .jsonl or .parquet."
        )
    read = {".tsv": _tsv_fields, ".csv": _csv_fields}[form]
    rows = _fields_by_name(path, read(path, encoding), flags, header)
    return _unlike_header(path, rows)


def _unlike_table(
    path: str, lines: Iterator[tuple[int, str]], columns: Sequence[str]
) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        if number == 1:
            check_no_header(path, line, columns)
        yield number, line


def check_no_header(path: str, line: str, columns: Collection[str]) -> None:
    """Sees that a .txt of a text a line does not begin as a table does.

    Args:
        path: the file.
        line: its first.
        columns: names, any of which a table would have in its header.
    Raises: ValueError, naming the line.
    """
    for extension, delimiter in ((".csv", ","), (".tsv", "\t")):
        names = [name.strip('"') for name in line.split(delimiter)]
        if len(names) > 1 and {*names} & {*columns}:
            raise ValueError(
                f"{path}:1: {line[:40]!r} looks like the header of a table, "
                f"and a .txt has a text a line; name the file {extension}, or "
                "leave the line out."
            )


def has_columns(path: str, names: Collection[str], encoding: str) -> bool:
    """Whether the first line of a .tsv names some columns.

    Raises: OSError; ValueError for a line that is not of the encoding.
    """
    _, header = next(_tsv_fields(path, encoding), (1, []))
    return {*names} <= {*header}


def _unlike_header(
    path: str, rows: Iterator[tuple[int, Mapping[str, Any]]]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows, none of which equals the header, as of tables put together.

    In a table of one column, only the first row is compared: a text may be
    named as its column is.
    """
    is_first = True
    for line, record in rows:
        if is_first or len(record) > 1:
            if all(name == value for name, value in record.items()):
                raise ValueError(
                    f"{path}:{line}: the row equals the header, "
                    f"{_listed(list(record))}; needs the header once, in the "
                    "first line or in --header."
                )
        is_first = False
        yield line, record


def _fields_by_name(
    path: str,
    rows: Iterator[tuple[int, list[str]]],
    flags: _Flags,
    header: Sequence[str] | None,
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows after the header, as mappings."""
    line = 1
    if header is None:
        line, header = next((x for x in rows if x[1] != [""]), (1, []))
    if not header:
        raise ValueError(f"{path}: the file is empty.")
    _check_columns(f"{path}:{line}", header, flags)
    for column in filter(None, header):
        _check_once(f"{path}:{line}", header, column)
    for line, fields in rows:
        if fields == [""] and len(header) > 1:
            continue
        if len(fields) != len(header):
            raise ValueError(
                f"{path}:{line}: {len(fields)} fields; the header has "
                f"{len(header)}."
            )
        yield line, dict(zip(header, fields, strict=True))


def _check_columns(where: str, header: Sequence[str], flags: _Flags) -> None:
    for column, flag in flags.items():
        if column not in header:
            raise ValueError(
                f"{where}: no column {column!r}; there are {_listed(header)}. "
                f"Name one of them with {flag}."
            )


def _check_once(where: str, header: Sequence[str], column: str) -> None:
    if header.count(column) > 1:
        raise ValueError(
            f"{where}: two columns {column!r}; needs names that differ, there "
            f"are {_listed(header)}."
        )


def _parquet_rows(
    path: str, flags: _Flags, whole: bool
) -> Iterator[tuple[int, dict[str, Any]]]:
    with _opened_parquet(path) as file:
        names = file.schema_arrow.names
        _check_columns(path, names, flags)
        for column in names:
            _check_once(path, names, column)
        columns = names if whole else list(flags)
        batches = file.iter_batches(_ROWS, columns=columns)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from enumerate(rows, start=1)


@contextlib.contextmanager
def _opened_parquet(path: str) -> Iterator[Any]:
    """A pyarrow.parquet.ParquetFile.

    Raises: ValueError, naming the file, for one that is none, then or while
        it is read, or if pyarrow is not installed; OSError.
    """
    parquet = import_parquet(path)
    import pyarrow

    check_regular(path)
    with open(path, "rb") as file:
        try:
            with parquet.ParquetFile(file) as opened:
                yield opened
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(
                f"{path}: not Parquet, or damaged: {error}"
            ) from None


def import_parquet(path: str | os.PathLike) -> Any:
    """The module pyarrow.parquet.

    Args:
        path: the file that it is for.
    Raises: ValueError, naming the file, if pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError(
            f"{path}: .parquet needs pyarrow: pip install "
            "'kbert-keras[parquet]'."
        )
    from pyarrow import parquet

    return parquet


def json_objects(path: str, encoding: str) -> Iterator[tuple[int, dict]]:
    """The objects of a JSON Lines file, each with its line, from 1.

    Raises: OSError; ValueError, naming file and line, for one that is not of
        the encoding, not JSON or no object.
    """
    for number, line in enumerate(files.read_lines(path, encoding), start=1):
        if line.strip():
            row = json_files.parse(line, path, line=number)
            if not isinstance(row, dict):
                raise ValueError(
                    f"{path}:{number}: found {line[:40]}; needs an object."
                )
            yield number, row


def _text(
    where: str, row: Mapping[str, Any], column: str, is_list: bool
) -> str | list[str]:
    value = row[column]
    if isinstance(value, str):
        return value
    if not is_list:
        raise _unfit(where, column, value, "a string")
    if isinstance(value, list) and all(isinstance(x, str) for x in value):
        return value
    raise _unfit(where, column, value, "a string or a list of strings")


def _label(where: str, row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if isinstance(value, str):
        return value
    # bool is an int
    if isinstance(value, int | float) and math.isfinite(value):
        return json.dumps(value)
    raise _unfit(where, column, value, "a string, number or boolean")


def _unfit(where: str, column: str, value: Any, needed: str) -> ValueError:
    found = json.dumps(value, default=str)[:40]
    return ValueError(f"{where}: {column!r} is {found}; needs {needed}.")
