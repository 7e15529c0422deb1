# SPDX-License-Identifier: Apache-2.0
"""Rows of a task with their labels: reading and splitting them."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from kbert.data import tables
from kbert.tasks import TaskSpec, inputs
from kbert.tasks.predictor import Column

LABEL_COLUMN = "label"  # where no other is named


class Rows(Protocol):
    """The rows of a task's file, with labels if they were read."""

    @property
    def path(self) -> str:
        """The file; "" of rows from lists."""
        ...

    @property
    def texts(self) -> Sequence[Column]:
        """The text columns, as the task's predictor takes them."""
        ...

    def __len__(self) -> int:
        """The number of rows."""
        ...


R = TypeVar("R", bound=Rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How to read a task's files, and the settings of a new model.

    Attributes:
        text_columns: the text columns of a table, one or two.
        choice_columns: the columns of the choices, for multiple choice.
        label_column: the column of the labels; None for "label".
        header: the column names of a table without a header.
        tag_scheme: "strict" or "lenient", for tagging; None for strict.
        encoding: the encoding of the files.
        labels: all labels in order; None for those of the training rows.
        max_seq_length: the maximum number of tokens of a row.
        class_weights: the loss weight of each label; "balanced" to give all
            classes equal weight; or None.
        settings: fields of the task's Settings that differ from the defaults.
    Raises: ValueError, naming the flag, for labels that are empty or repeated.
    """

    text_columns: Sequence[str] | None = None
    choice_columns: Sequence[str] | None = None
    label_column: str | None = None
    header: Sequence[str] | None = None
    tag_scheme: str | None = None
    encoding: str = "utf-8"
    labels: Sequence[str] | None = None
    max_seq_length: int = 128
    class_weights: str | Mapping[str, float] | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        """Checks the names of the labels."""
        labels = self.labels
        if labels is not None and len({*labels} - {""}) != len(labels or "-"):
            raise ValueError(
                f"--labels={','.join(labels)}: needs names that differ."
            )

    def check(self, task: str, takes: Collection[str]) -> None:
        """Checks that the task takes all options that are given.

        Args:
            task: its name, for the message.
            takes: the optional fields that it takes.
        Raises: ValueError, naming the flag.
        """
        for name in _NOT_OF_ALL:
            if getattr(self, name) is not None and name not in takes:
                raise ValueError(f"--{name}: not of --task={task}.")

    def columns(self, spec: TaskSpec | None = None) -> dict[str, Any]:
        """Returns the fields of TaskSpec that name a table's columns.

        Args:
            spec: of a model, whose columns are used where none are given.
        """
        names = ("text_columns", "choice_columns", "label_column")
        given = {name: getattr(self, name) for name in names}
        if spec:
            given = {x: v or getattr(spec, x) for x, v in given.items()}
        return {
            "text_columns": tuple(given["text_columns"] or ()),
            "choice_columns": tuple(given["choice_columns"] or ()),
            "label_column": given["label_column"],
        }


_NOT_OF_ALL = (
    *("text_columns", "choice_columns", "label_column", "header"),
    *("labels", "class_weights", "tag_scheme"),
)


def read_table(
    path: str,
    options: DataOptions,
    spec: TaskSpec | None,
    empty_labels: bool = False,
) -> tables.Rows:
    """Reads the text columns and the label column of a table.

    Raises: ValueError, naming the flag, if there are too few or too many.
    """
    columns = options.columns(spec)
    names = columns["text_columns"]
    allowed = (spec.num_texts,) if spec else (1, 2)
    if len(names) not in allowed:
        counts = " or ".join(map(str, allowed))
        raise ValueError(
            f"--text_columns={','.join(names)}: needs {counts} column "
            f"name{'s' if allowed != (1,) else ''}."
        )
    return tables.read_table(
        path,
        names,
        columns["label_column"] or LABEL_COLUMN,
        header=options.header,
        encoding=options.encoding,
        empty_labels=empty_labels,
    )


def of_lists(
    x: Any, y: Any, num_texts: int, name: Callable[[Any, int], str]
) -> tables.Rows:
    """Makes rows from texts and labels, as `Task.fit` takes them.

    Args:
        x: the texts.
        y: the labels.
        num_texts: texts in a row.
        name: a function from a label and its row's number to its name.
    Raises: ValueError, naming the row, counted from 1.
    """
    texts = inputs.texts(x, num_texts)
    labels = inputs.labels(y, len(texts[0]))
    numbers = [*range(1, len(labels) + 1)]
    return tables.Rows("", numbers, texts, [*map(name, labels, numbers)])


def take(rows: R, indices: Sequence[int]) -> R:
    """Returns some rows: these elements of each list in the dataclass."""

    def chosen(value):
        if isinstance(value, tuple):  # of columns
            return tuple(map(chosen, value))
        if isinstance(value, list) and len(value) == len(rows):
            return [value[index] for index in indices]
        return value  # what the rows share, or a column that was not read

    whole: Any = rows
    names = [field.name for field in dataclasses.fields(whole)]
    return dataclasses.replace(
        whole, **{name: chosen(getattr(rows, name)) for name in names}
    )


def split(rows: R, dev_share: float) -> tuple[R, R]:
    """Splits into training and validation rows: see `inputs.is_validation`.

    Raises: ValueError, naming the flag, as `inputs.sides` does.
    """
    texts = zip(*rows.texts, strict=True)
    setting = f"--dev_share={dev_share:g}: {rows.path}"
    train, dev = inputs.sides(texts, dev_share, setting)
    return take(rows, train), take(rows, dev)
