# SPDX-License-Identifier: Apache-2.0
"""Queries with candidates: pairs with labels, or a positive and negatives."""

import dataclasses

from kbert.data import tables


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The rows of a table: a query, and texts of which some answer it.

    Attributes:
        path: the file; "" if the rows come from lists.
        lines: for each row the line where it starts, or its number, from 1.
        queries: the query of each row.
        candidates: the texts of each row, the same number for each.
        labels: for each text how well it answers, 0 to 1.
        margins: for each row by how much its first text's score exceeds that
            of its second, as a teacher has it; or None.
    """

    path: str
    lines: list[int]
    queries: list[str]
    candidates: list[list[str]]
    labels: list[list[float]]
    margins: list[float] | None = None

    @property
    def texts(self) -> tuple[list[str], list[list[str]]]:
        """As the task's predictor takes them."""
        return self.queries, self.candidates

    @property
    def are_pairs(self) -> bool:
        """Whether rows have one text, with its label."""
        return len(self.candidates[0]) == 1

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.queries)


def of_table(rows: tables.Rows) -> Candidates:
    """Makes rows of a table's columns.

    Args:
        rows: two text columns, of queries and texts, with labels from 0 to 1;
            or three or more, of queries, texts that answer them, and texts
            that do not, without labels, or with a teacher's margins.
    Raises: ValueError, naming file and line, for a label that is no number, or
        of a pair not from 0 to 1, or for a blank positive or negative.
    """
    queries, *columns = rows.texts
    candidates = [list(texts) for texts in zip(*columns, strict=True)]
    numbers = None
    if rows.labels is not None:
        numbers = tables.label_numbers(rows)
    if len(columns) == 1:
        labels = [[number] for number in numbers or []]
        for line, (number,) in zip(rows.lines, labels, strict=True):
            if not 0 <= number <= 1:
                raise ValueError(
                    f"{tables.where(rows.path, line)}: label {number:g}; needs "
                    "a number from 0 to 1."
                )
        return Candidates(rows.path, rows.lines, queries, candidates, labels)
    for line, texts in zip(rows.lines, candidates, strict=True):
        if not all(map(str.strip, texts)):
            raise ValueError(
                f"{tables.where(rows.path, line)}: a positive or negative is "
                "empty; needs a text."
            )
    labels = [[1.0] + [0.0] * (len(columns) - 1)] * len(candidates)
    return Candidates(
        rows.path, rows.lines, queries, candidates, labels, numbers
    )
