# SPDX-License-Identifier: Apache-2.0
"""Labelled texts from a table: TSV, CSV or JSON Lines with named columns."""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from kbert.text import files


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
    path: str, text_columns: Sequence[str], label_column: str | None
) -> Rows:
    """Reads the texts, and the labels if any, of a table.

    The extension tells the format. All are UTF-8; empty lines are skipped.
        .tsv: a header, then fields between tabs; quotes are characters like
            others, as in the GLUE files.
        .csv: a header, then fields as in RFC 4180; quoted ones may hold
            commas, doubled quotes and newlines.
        .jsonl: one object a line. Texts are strings, labels strings, numbers
            or true and false, which become their spelling in JSON.

    Raises: OSError; ValueError, naming file and line, for a line that is not
        UTF-8 or not of the format, a column that is not there, a row with
        too few or too many fields, an empty label, or a table without rows.
    """
    wanted = [*text_columns, *([label_column] if label_column else [])]
    extension = pathlib.Path(path).suffix.lower()
    if extension == ".jsonl":
        rows = _json_rows(path, text_columns, label_column)
    elif extension == ".tsv":
        rows = _picked(path, _tsv_fields(path), wanted)
    elif extension == ".csv":
        rows = _picked(path, _csv_fields(path), wanted)
    else:
        raise ValueError(
            f"{path}: extension {extension!r}; wanted .tsv, .csv or .jsonl."
        )
    lines, columns = [], [[] for _ in wanted]
    for line, values in rows:
        if label_column and not values[-1]:
            raise ValueError(f"{path}:{line}: {label_column!r} is empty.")
        lines.append(line)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    if not lines:
        raise ValueError(f"{path}: no rows.")
    labels = columns.pop() if label_column else None
    return Rows(path, lines, tuple(columns), labels)


def label_ids(rows: Rows, labels: Sequence[str]) -> np.ndarray:
    """The place of each row's label in a model's labels, (rows,) int32.

    Raises: ValueError, naming file and line, for a label not among them.
    """
    if rows.labels is None:
        raise ValueError(f"{rows.path}: read without a label column.")
    ids = {label: i for i, label in enumerate(labels)}
    for line, label in zip(rows.lines, rows.labels, strict=True):
        if label not in ids:
            raise ValueError(
                f"{rows.path}:{line}: label {label!r} is not one of "
                f"{list(labels)}."
            )
    return np.array([ids[label] for label in rows.labels], np.int32)


def _tsv_fields(path: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(files.read_lines(path), start=1):
        if line:
            yield number, line.split("\t")


def _csv_fields(path: str) -> Iterator[tuple[int, list[str]]]:
    lines = (f"{line}\n" for line in files.read_lines(path))
    reader = csv.reader(lines, strict=True)
    start = 1
    try:
        for fields in reader:
            if fields:
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{start}: not CSV: {error}.") from None


def _picked(
    path: str, rows: Iterator[tuple[int, list[str]]], wanted: Sequence[str]
) -> Iterator[tuple[int, list[str]]]:
    """The wanted fields of each row after the header, in the order wanted."""
    line, header = next(rows, (1, []))
    if not header:
        raise ValueError(f"{path}: the file is empty.")
    for column in wanted:
        if header.count(column) != 1:
            found = "two columns" if column in header else "no column"
            raise ValueError(
                f"{path}:{line}: {found} {column!r}; there are {header}."
            )
    places = [header.index(column) for column in wanted]
    for line, fields in rows:
        if len(fields) != len(header):
            raise ValueError(
                f"{path}:{line}: {len(fields)} fields; the header has "
                f"{len(header)}."
            )
        yield line, [fields[place] for place in places]


def _json_rows(
    path: str, text_columns: Sequence[str], label_column: str | None
) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(files.read_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        row = _json_object(where, line)
        values = [_json_value(where, row, c, str) for c in text_columns]
        if label_column:
            types = (str, int, float)  # bool is an int
            label = _json_value(where, row, label_column, types)
            values.append(
                label if isinstance(label, str) else json.dumps(label)
            )
        yield number, values


def _json_object(where: str, line: str) -> dict:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON: {error}.") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: wanted an object, found {line[:40]}.")
    return row


def _json_value(where: str, row: dict, column: str, types):
    if column not in row:
        raise ValueError(
            f"{where}: no column {column!r}; there are {list(row)}."
        )
    if not isinstance(row[column], types):
        wanted = "a string" if types is str else "a string, number or boolean"
        raise ValueError(
            f"{where}: {column!r} is {json.dumps(row[column])[:40]}; wanted "
            f"{wanted}."
        )
    return row[column]
