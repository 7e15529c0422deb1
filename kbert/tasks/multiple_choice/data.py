# SPDX-License-Identifier: Apache-2.0
"""Texts with several choices each, one of them right, such as SWAG's."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from kbert.data import tables


@dataclasses.dataclass(frozen=True)
class Choices:
    """The rows of a table.

    Attributes:
        path: the file.
        lines: for each row the line it starts on, from 1.
        prompts: what is asked.
        choices: for each row as many as for the others.
        labels: the indices, from 0, of the right ones; none if not asked for.
    """

    path: str
    lines: list[int]
    prompts: list[str]
    choices: list[list[str]]
    labels: list[int]

    @property
    def texts(self) -> tuple[list[str], list[list[str]]]:
        """As the task's predictor takes them."""
        return self.prompts, self.choices

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.prompts)


def read_choices(
    path: str,
    text_columns: Sequence[str],
    choice_columns: Sequence[str],
    label_column: str | None,
    *,
    header: Sequence[str] | None = None,
    encoding: str = "utf-8",
) -> Choices:
    """Reads a table of rows with the same number of choices.

    Args: see `stream`.
    Raises: as `stream` does; and ValueError, naming file and line, for fewer
        than two choices, for more or fewer than in the first row, and for
        half of a surrogate pair, which JSON can have.
    """
    rows = Choices(path, [], [], [], [])
    for line, (prompt, choices, *label) in stream(
        path,
        text_columns,
        choice_columns,
        label_column,
        header=header,
        encoding=encoding,
    ):
        where, count = f"{path}:{line}", len((rows.choices or [choices])[0])
        if not 2 <= len(choices) == count:
            raise ValueError(
                f"{where}: {len(choices)} choices; needs {max(2, count)}"
                f"{', as in the first row' if rows.choices else ' or more'}."
            )
        for text in (prompt, *choices):
            tables.check_text(where, text)
        rows.lines.append(line)
        rows.prompts.append(prompt)
        rows.choices.append(choices)
        rows.labels.extend(_index(where, x, count) for x in label)
    return rows


def stream(
    path: str,
    text_columns: Sequence[str],
    choice_columns: Sequence[str],
    label_column: str | None = None,
    *,
    header: Sequence[str] | None = None,
    encoding: str = "utf-8",
    whole: bool = False,
) -> Iterator[tuple[int, list[Any]]]:
    """Yields the rows of a table of any length, one at a time.

    Args:
        path: see `tables.stream`.
        text_columns: one, of what is asked; or a second too, of how all
            choices of the row begin, which is put before each, with a space
            (SWAG's sent2; Zellers et al. 2018, arXiv:1808.05326).
        choice_columns: two or more, each of a choice; or one, of a .jsonl
            or a .parquet, of a list of all choices.
        label_column: of the right one's index, from 0; or None.
        header: see `tables.stream`.
        encoding: of the file.
        whole: see `tables.stream`.
    Yields: the line that a row starts on, from 1, and its prompt, the list of
        its choices, then its label if one was asked for, then the whole row.
    Raises: OSError; ValueError, naming file and line, as `tables.stream`
        does, and for a string instead of a list.
    """
    num_texts, in_list = len(text_columns), len(choice_columns) == 1
    for line, values in tables.stream(
        path,
        [*text_columns, *choice_columns],
        label_column,
        header=header,
        encoding=encoding,
        lists=choice_columns if in_list else (),
        text_flag="--text_columns or --choice_columns",
        whole=whole,
    ):
        prompt, *beginning = values[:num_texts]
        others = values[num_texts + len(choice_columns) :]
        ends = values[num_texts : len(values) - len(others)]
        if in_list:
            (ends,) = ends
            if isinstance(ends, str):
                raise ValueError(
                    f"{path}:{line}: {choice_columns[0]!r} is {ends[:40]!r}; "
                    "needs a list of strings, or a column for each choice."
                )
        choices = [" ".join(filter(None, [*beginning, x])) for x in ends]
        yield line, [prompt, choices, *others]


def _index(where: str, label: str, num_choices: int) -> int:
    known = {str(index): index for index in range(num_choices)}
    if label not in known:
        raise ValueError(
            f"{where}: label {label!r}; needs the index of the right "
            f"choice, 0 to {num_choices - 1}."
        )
    return known[label]
