# SPDX-License-Identifier: Apache-2.0
"""Rows of a task, with their labels: how files are read, and how split."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from kbert.data import tables
from kbert.tasks import TaskSpec, inputs
from kbert.tasks.predictor import Column

LABEL_COLUMN = "label"  # where no other is named


class Rows(Protocol):
    """What a task's file holds, with its labels if they were asked for."""

    @property
    def path(self) -> str:
        """The file; "" of rows from lists."""
        ...

    @property
    def texts(self) -> Sequence[Column]:
        """As the task's predictor takes them."""
        ...

    def __len__(self) -> int:
        """The number of rows."""
        ...


R = TypeVar("R", bound=Rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How a task's files are read, and what a new model of them is like.

    Attributes:
        text_columns: of a table, one or two.
        choice_columns: the same, of multiple choice.
        label_column: the same; None for "label".
        header: names of the columns, of tables that have none on top.
        tag_scheme: "strict" or "lenient", of tagging; None for strict.
        encoding: of the files.
        labels: all that there are, in their order; None for those of the
            training rows.
        max_seq_length: most tokens of a row.
        class_weights: of the losses of rows, by label; "balanced" for
            weights by which all classes count alike; or None.
        settings: those fields of the task's Settings that were given.
    Raises: ValueError, naming the flag, for labels that are no names or
        that repeat one.
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
        """Sees that nothing is given that the task does not take.

        Args:
            task: its name, for the message.
            takes: those of _NOT_OF_ALL that it takes.
        Raises: ValueError, naming the flag.
        """
        for name in _NOT_OF_ALL:
            if getattr(self, name) is not None and name not in takes:
                raise ValueError(f"--{name}: not of --task={task}.")

    def columns(self, spec: TaskSpec | None = None) -> dict[str, Any]:
        """Those fields of TaskSpec that say which columns a table has.

        Args:
            spec: of the model, whose columns stand in for those not given.
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
    """The text columns and the label column of a table.

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
    """Texts with a label each, as `kbert.tasks.task.Task.fit` takes them.

    Args:
        x: the texts.
        y: the labels.
        num_texts: texts of a row.
        name: of a label and the number of its row, as a table has it.
    Raises: ValueError, naming the row, from 1.
    """
    texts = inputs.texts(x, num_texts)
    labels = inputs.labels(y, len(texts[0]))
    numbers = [*range(1, len(labels) + 1)]
    return tables.Rows("", numbers, texts, [*map(name, labels, numbers)])


def take(rows: R, indices: Sequence[int]) -> R:
    """Some of the rows: of each list in their dataclass those elements."""

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
    """Training rows and validation rows: see `inputs.is_validation`.

    Raises: ValueError, naming the flag, as `inputs.sides` does.
    """
    texts = zip(*rows.texts, strict=True)
    setting = f"--dev_share={dev_share:g}: {rows.path}"
    train, dev = inputs.sides(texts, dev_share, setting)
    return take(rows, train), take(rows, dev)
