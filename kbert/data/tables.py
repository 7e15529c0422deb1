# SPDX-License-Identifier: Apache-2.0
"""Reads labelled texts from tables: TSV, CSV, JSON Lines or Parquet."""

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
from kbert.text import text_files

EXTENSIONS = (".tsv", ".csv", ".jsonl", ".parquet")
# What pandas, R and spreadsheets write for a missing value, in any case.
_MISSING = {"", "nan", "na", "n/a", "#na", "#n/a", "<na>", "null"}
_MAX_LISTED = 20  # labels or columns that an error lists
_Flags = Mapping[str, str]  # column: the flag that names it

_CHUNK_ROWS = 1024  # of a Parquet file
_MAX_CSV_FIELD = 2**31 - 1  # Python's default is 131,072
_MAX_FLOAT32 = 3.4028235e38


@dataclasses.dataclass(frozen=True)
class Rows:
    """The text and label columns of one table.

    Attributes:
        path: the file; "" if the rows come from lists.
        lines: for each row the line where it starts, or its number, from 1.
        texts: the strings of each text column.
        labels: the strings of the label column, or None.
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
    """Reads the texts and labels of a table; see `stream`.

    Args:
        path: the file.
        text_columns: the names of the text columns.
        label_column: the name of the label column, or None.
        header: the names of all columns, or None.
        encoding: the encoding of the file.
        empty_labels: whether labels may be blank.
    Raises: as `stream`; also ValueError for a blank label, and for half of a
        surrogate pair, which JSON can contain.
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

    The extension determines the format. Empty lines are skipped, except in a
    .tsv with one column, where they are empty texts.
        .tsv: a header, then fields separated by tabs; quotes have no special
            meaning, as in the GLUE files.
        .csv: a header, then fields as in RFC 4180; quoted fields may contain
            commas, doubled quotes and newlines.
        .jsonl: one object per line. Texts are strings; labels are strings,
            numbers or booleans, which are spelled as in JSON.
        .parquet: columns as in .jsonl; needs pyarrow.
        .txt: one text per line, for one text column and no label.
    All except .parquet may be compressed: NAME.csv.gz.

    Args:
        path: the file.
        text_columns: the names of the text columns.
        label_column: the name of the label column, or None.
        header: the names of all columns, for a .tsv or .csv without a header
            line.
        encoding: Python's name of the file's encoding.
        lists: text columns that may contain lists of strings in a .jsonl or a
            .parquet.
        text_flag: the flag that names text columns, for errors.
        whole: whether to append a dict of all columns to the values of a row.
    Yields: the line where the row starts (for .parquet the row's number),
        from 1, and the row's texts, then its label if label_column is given.
    Raises: OSError; ValueError, naming file and line, for a line that does not
        have the encoding or the format, a missing or duplicate column, a row
        with too few or too many fields, a row that equals the header, or a
        table without rows.
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
    """Counts the rows of a table, or a few more, to show progress.

    Raises: as `stream`.
    """
    if extension(path) == ".parquet":
        with _opened_parquet(path) as file:
            return file.metadata.num_rows
    with text_files.opened(path) as file:
        blocks = iter(lambda: file.read(1 << 20), b"")
        return sum(block.count(b"\n") for block in blocks)


def extension(path: str | os.PathLike) -> str:
    """Returns the extension without .gz: ".csv" for A.CSV and for a.csv.gz."""
    name = str(path).lower()
    found = pathlib.Path(name.removesuffix(".gz")).suffix
    if found in (".tsv", ".csv", ".jsonl", ".txt"):
        return found
    return pathlib.Path(name).suffix


def is_missing(label: str) -> bool:
    """Returns whether a label usually means a missing one, such as "NaN"."""
    return label.strip().lower() in _MISSING or label == "None"


def check_text(where: str, text: str) -> None:
    """Checks that a text can be encoded.

    Raises: ValueError, starting with `where`, for half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{where}: {json.dumps(text)[:40]}: half of a surrogate pair; "
            "needs whole characters."
        ) from None


def where(path: str, line: int) -> str:
    """Returns the name of a row in messages; rows of lists have no path."""
    return f"{path}:{line}" if path else f"Row {line}"


def check_labels(
    path: str,
    lines: Sequence[int],
    by_row: Sequence[Sequence[str]],
    known: Collection[str] = (),
) -> None:
    """Checks that no label means a missing one.

    Args:
        path: the file.
        lines: the line of each row.
        by_row: the labels of each row.
        known: labels that are accepted in any case.
    Raises: ValueError, naming file and line.
    """
    for line, found in zip(lines, by_row, strict=True):
        for label in found:
            if is_missing(label) and label not in known:
                raise ValueError(
                    f"{where(path, line)}: label {label!r} usually means a "
                    "missing one; needs a label. If it is one, list all labels "
                    "with --labels."
                )


def label_ids(
    rows: Rows, by_row: Sequence[Sequence[str]], labels: Sequence[str]
) -> list[list[int]]:
    """Returns the indices of each row's labels in the model's labels.

    Args:
        rows: the rows.
        by_row: the labels of each row.
        labels: the labels of the model.
    Raises: ValueError, naming file and line, for an unknown label.
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
    """Lists names for a message, only the first ones if there are many."""
    more = len(names) - _MAX_LISTED
    return f"{list(names)[:_MAX_LISTED]}{f' and {more:,} more' * (more > 0)}"


def label_numbers(rows: Rows) -> list[float]:
    """Converts the labels to numbers.

    Raises: ValueError, naming file and line, for a label that is not a number.
    """
    numbers = []
    for line, label in zip(rows.lines, rows.labels or (), strict=True):
        try:
            # float() also accepts 1_000.
            number = math.nan if "_" in label else float(label)
        except ValueError:
            number = math.nan
        if not abs(number) <= _MAX_FLOAT32:
            raise ValueError(
                f"{where(rows.path, line)}: label {label!r}; needs a number, "
                f"of {_MAX_FLOAT32:.1e} at most."
            )
        numbers.append(number)
    return numbers


def _tsv_fields(path: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(
        text_files.read_lines(path, encoding), start=1
    ):
        yield number, line.split("\t")


def _csv_fields(path: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    # Quoted fields may contain newlines.
    lines = text_files.read_lines(path, encoding, keep_ends=True)
    csv.field_size_limit(_MAX_CSV_FIELD)
    reader = csv.reader(lines, strict=True)
    start = 1
    try:
        for fields in reader:
            yield start, fields or [""]  # an empty line, as _tsv_fields has it
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
    """Yields each row as a mapping of its columns; of all if `whole`."""
    form = extension(path)
    if form == ".jsonl":
        return _unlike_header(path, json_objects(path, encoding))
    if form == ".parquet":
        return _unlike_header(path, _parquet_rows(path, flags, whole))
    if form == ".txt" and len(flags) == 1:
        lines = enumerate(text_files.read_lines(path, encoding), start=1)
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
    """Checks that a .txt with one text per line is not a table.

    Args:
        path: the file.
        line: its first line.
        columns: column names; the header of a table would have one of them.
    Raises: ValueError, naming the line.
    """
    for extension, delimiter in ((".csv", ","), (".tsv", "\t")):
        names = [name.strip('"') for name in line.split(delimiter)]
        if len(names) > 1 and {*names} & {*columns}:
            raise ValueError(
                f"{path}:1: {line[:40]!r} looks like the header of a table, "
                "and a .txt has one text per line; rename the file to "
                f"{extension}, or remove the line."
            )


def has_columns(path: str, names: Collection[str], encoding: str) -> bool:
    """Returns whether the first line of a .tsv has all of these columns.

    Raises: OSError; ValueError if the line cannot be decoded.
    """
    _, header = next(_tsv_fields(path, encoding), (1, []))
    return {*names} <= {*header}


def _unlike_header(
    path: str, rows: Iterator[tuple[int, Mapping[str, Any]]]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yields rows, and refuses one that equals the header.

    Concatenated tables have them. In a table with one column only the first
    row is compared: later a text may equal its column's name.
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
    """Yields the rows after the header as mappings."""
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
            f"{where}: two columns {column!r}; needs different names, there "
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
        batches = file.iter_batches(_CHUNK_ROWS, columns=columns)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from enumerate(rows, start=1)


@contextlib.contextmanager
def _opened_parquet(path: str) -> Iterator[Any]:
    """Yields a pyarrow.parquet.ParquetFile.

    Raises: ValueError, naming the file, if it is not Parquet or turns out to
        be damaged while it is read, or if pyarrow is not installed; OSError.
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
    """Imports pyarrow.parquet.

    Args:
        path: the file to read, for the error.
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
    """Yields the objects of a JSON Lines file, each with its line, from 1.

    Raises: OSError; ValueError, naming file and line, for a line that cannot
        be decoded, is not JSON or not an object.
    """
    for number, line in enumerate(
        text_files.read_lines(path, encoding), start=1
    ):
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
        raise _invalid(where, column, value, "a string")
    if isinstance(value, list) and all(isinstance(x, str) for x in value):
        return value
    raise _invalid(where, column, value, "a string or a list of strings")


def _label(where: str, row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if isinstance(value, str):
        return value
    # bool is an int
    if isinstance(value, int | float) and math.isfinite(value):
        return json.dumps(value)
    raise _invalid(where, column, value, "a string, number or boolean")


def _invalid(where: str, column: str, value: Any, needed: str) -> ValueError:
    found = json.dumps(value, default=str)[:40]
    return ValueError(f"{where}: {column!r} is {found}; needs {needed}.")
