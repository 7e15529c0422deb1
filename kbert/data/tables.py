# SPDX-License-Identifier: Apache-2.0
"""Labelled texts from a table: TSV, CSV or JSON Lines with named columns."""

import csv
import dataclasses
import json
import math
import pathlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from kbert.text import files

EXTENSIONS = (".tsv", ".csv", ".jsonl")
_LONGEST_FIELD = 2**31 - 1  # of CSV; Python's own limit is 131,072
_LARGEST = 3.4028235e38  # of float32


@dataclasses.dataclass(frozen=True)
class Rows:
    """The wanted columns of one table.

    Attributes:
        path: the file.
        lines: for each row the line it starts on, from 1.
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

    Raises: as `stream` does, and for half of a surrogate pair, which JSON can
        have.
    """
    lines = []
    columns = [[] for _ in range(len(text_columns) + bool(label_column))]
    for line, values in stream(
        path,
        text_columns,
        label_column,
        header=header,
        encoding=encoding,
        empty_labels=empty_labels,
    ):
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
    empty_labels: bool = False,
    lists: Collection[str] = (),
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

    Args:
        path: the file.
        text_columns: names of columns.
        label_column: likewise, or None.
        header: the names of all columns, of a .tsv or .csv whose first line
            is a row already.
        encoding: of the file, as Python names it.
        empty_labels: whether a row's label may be the empty string.
        lists: text columns that may hold lists of strings in a .jsonl.
    Yields: the line that a row starts on, from 1, and its texts, then its
        label if one was asked for.
    Raises: OSError; ValueError, naming file and line, for a line that is not
        of the encoding or not of the format, a column that is not there, a
        row with too few or too many fields, an empty label, or a table
        without rows.
    """
    wanted = [*text_columns, *([label_column] if label_column else [])]
    extension = pathlib.Path(path).suffix.lower()
    if extension == ".jsonl":
        rows = _json_rows(path, text_columns, label_column, encoding, lists)
    elif extension in EXTENSIONS:
        read = {".tsv": _tsv_fields, ".csv": _csv_fields}[extension]
        rows = _picked(path, read(path, encoding), wanted, header)
    else:
        raise ValueError(
            f"{path}: extension {extension!r}; wanted .tsv, .csv or .jsonl."
        )
    line = None
    for line, values in rows:
        if label_column and not (values[-1] or empty_labels):
            raise ValueError(f"{path}:{line}: {label_column!r} is empty.")
        yield line, values
    if line is None:
        raise ValueError(f"{path}: no rows.")


def check_text(where: str, text: str) -> None:
    """Raises: ValueError, naming the place, for what no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{where}: {json.dumps(text)[:40]}: half of a surrogate pair is "
            "no text."
        ) from None


def label_ids(
    rows: Rows, by_row: Sequence[Sequence[str]], labels: Sequence[str]
) -> list[list[int]]:
    """The places of each row's labels in a model's labels.

    Args:
        rows: where they stand.
        by_row: the labels of each row.
        labels: the model's.
    Raises: ValueError, naming file and line, for a label not among them.
    """
    ids = {label: i for i, label in enumerate(labels)}
    for line, found in zip(rows.lines, by_row, strict=True):
        for label in found:
            if label not in ids:
                raise ValueError(
                    f"{rows.path}:{line}: label {label!r} is not one of "
                    f"{list(labels)}."
                )
    return [[ids[label] for label in found] for found in by_row]


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
                f"{rows.path}:{line}: label {label!r}; wanted a number, of "
                f"{_LARGEST:.1e} at most."
            )
        numbers.append(number)
    return numbers


def _tsv_fields(path: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(files.read_lines(path, encoding), start=1):
        yield number, line.split("\t")


def _csv_fields(path: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    lines = (f"{line}\n" for line in files.read_lines(path, encoding))
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(lines, strict=True)
    start = 1
    try:
        for fields in reader:
            yield start, fields or [""]  # an empty line, as in a TSV
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{start}: not CSV: {error}.") from None


def _picked(
    path: str,
    rows: Iterator[tuple[int, list[str]]],
    wanted: Sequence[str],
    header: Sequence[str] | None,
) -> Iterator[tuple[int, list[str]]]:
    """The wanted fields of each row after the header, in the order wanted."""
    line = 1
    if header is None:
        line, header = next((x for x in rows if x[1] != [""]), (1, []))
    if not header:
        raise ValueError(f"{path}: the file is empty.")
    header = list(header)
    for column in wanted:
        if header.count(column) != 1:
            found = "two columns" if column in header else "no column"
            raise ValueError(
                f"{path}:{line}: {found} {column!r}; there are {header}."
            )
    places = [header.index(column) for column in wanted]
    for line, fields in rows:
        if fields == [""] and len(header) > 1:
            continue
        if len(fields) != len(header):
            raise ValueError(
                f"{path}:{line}: {len(fields)} fields; the header has "
                f"{len(header)}."
            )
        yield line, [fields[place] for place in places]


def _json_rows(
    path: str,
    text_columns: Sequence[str],
    label_column: str | None,
    encoding: str,
    lists: Collection[str],
) -> Iterator[tuple[int, list[Any]]]:
    for number, row in json_objects(path, encoding):
        where = f"{path}:{number}"
        values = [_json_text(where, row, c, c in lists) for c in text_columns]
        if label_column:
            values.append(_json_label(where, row, label_column))
        yield number, values


def json_objects(path: str, encoding: str) -> Iterator[tuple[int, dict]]:
    """The objects of a JSON Lines file, each with its line, from 1.

    Raises: OSError; ValueError, naming file and line, for one that is not of
        the encoding, not JSON or no object.
    """
    for number, line in enumerate(files.read_lines(path, encoding), start=1):
        if line.strip():
            yield number, _json_object(f"{path}:{number}", line)


def _json_object(where: str, line: str) -> dict:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON: {error}.") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: wanted an object, found {line[:40]}.")
    return row


def _json_text(
    where: str, row: dict, column: str, is_list: bool
) -> str | list[str]:
    value = _json_value(where, row, column)
    if isinstance(value, str):
        return value
    if not is_list:
        raise _not_wanted(where, column, value, "a string")
    if isinstance(value, list) and all(isinstance(x, str) for x in value):
        return value
    raise _not_wanted(where, column, value, "a string or a list of strings")


def _json_label(where: str, row: dict, column: str) -> str:
    value = _json_value(where, row, column)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):  # bool is an int
        return json.dumps(value)
    raise _not_wanted(where, column, value, "a string, number or boolean")


def _json_value(where: str, row: dict, column: str) -> Any:
    if column not in row:
        raise ValueError(
            f"{where}: no column {column!r}; there are {list(row)}."
        )
    return row[column]


def _not_wanted(where: str, column: str, value: Any, wanted: str) -> ValueError:
    return ValueError(
        f"{where}: {column!r} is {json.dumps(value)[:40]}; wanted {wanted}."
    )
