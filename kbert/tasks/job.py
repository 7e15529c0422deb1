# SPDX-License-Identifier: Apache-2.0
"""What a run wants to know of a task."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from kbert.data.finetuning import Examples
from kbert.tasks import TaskSpec, inputs
from kbert.tasks.predictor import Column
from kbert.text.vocabulary import Vocabulary
from kbert.training import loop

Answers = Sequence[Mapping[str, Any]]  # as a task's server gives them


class Rows(Protocol):
    """What a task's file holds, with its labels if they were wanted."""

    @property
    def path(self) -> str:
        """The file."""
        ...

    @property
    def texts(self) -> Sequence[Column]:
        """As the task's server takes them."""
        ...

    def __len__(self) -> int:
        """The number of rows."""
        ...


R = TypeVar("R", bound=Rows)


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
    """The rows to train on and the held-out ones: see `inputs.is_held_out`.

    Raises: ValueError, naming the flag, as `inputs.sides` does.
    """
    texts = zip(*rows.texts, strict=True)
    setting = f"--dev_share={dev_share:g}: {rows.path}"
    train, dev = inputs.sides(texts, dev_share, setting)
    return take(rows, train), take(rows, dev)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How files are read and what a new model's task is.

    Attributes:
        text_columns: of a table, one or two.
        choice_columns: likewise, of multiple choice.
        label_column: likewise; None for "label".
        header: names of the columns, of tables that have none on top.
        tag_scheme: "strict" or "lenient", of tagging; None for strict.
        encoding: of the files.
        labels: all that there are, in their order; None for those of the
            training rows.
        max_seq_length: most tokens of a row.
        class_weights: of the losses of rows, by label; "balanced" for
            weights by which all classes count alike; or None.
        settings: those fields of the task's Settings that were given.
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


_NOT_OF_ALL = (
    *("text_columns", "choice_columns", "label_column", "header"),
    *("labels", "class_weights", "tag_scheme"),
)
LABEL_COLUMN = "label"  # the column, where no other is named


class Job(abc.ABC, Generic[R]):
    """A task: how its files are read, trained on and scored.

    Attributes:
        task: its name.
        metric: the score that tells the best model, the higher the better.
        row_score: what the score of a row by itself is, such as "f1".
        best_row_score: that of an answer with nothing wrong.
        takes: those of JobOptions that not all tasks take.
        one_loss_a_row: whether examples are rows, each with one loss.
    Raises: ValueError, naming the flag, if another is given.
    """

    task: ClassVar[str]
    metric: ClassVar[str]
    row_score: ClassVar[str]
    best_row_score: ClassVar[float] = 1.0
    takes: ClassVar[tuple[str, ...]] = ()
    one_loss_a_row: ClassVar[bool] = False

    def __init__(self, options: JobOptions):
        for name in _NOT_OF_ALL:
            given = getattr(options, name) is not None
            if given and name not in self.takes:
                raise ValueError(f"--{name}: not of --task={self.task}.")
        labels = options.labels
        if labels is not None and len({*labels} - {""}) != len(labels or "-"):
            raise ValueError(
                f"--labels={','.join(labels)}: needs names that differ."
            )
        self.options = options

    def metric_of(self, spec: TaskSpec) -> str:
        """The metric of a model."""
        return self.metric

    @abc.abstractmethod
    def read(self, path: str, spec: TaskSpec | None = None) -> R:
        """Reads a file with labels.

        Args:
            path: the file.
            spec: of the model that is to answer it, if there is one yet.
        Raises: ValueError, naming file and line or the flag; OSError.
        """

    @abc.abstractmethod
    def rows(self, x: Any, y: Any, spec: TaskSpec) -> R:
        """The rows of lists, as `kbert.tasks.task.Task.fit` takes them.

        Raises: ValueError, naming the row, from 1.
        """

    def read_texts(self, path: str) -> R:
        """Reads a file of which only the texts are wanted.

        Raises: as `read` does.
        """
        return self.read(path)

    @abc.abstractmethod
    def spec(self, rows: R) -> TaskSpec:
        """That of a model to be trained on some rows.

        Raises: ValueError, naming the file or the flag.
        """

    def tuned(self, answers: Answers, rows: R, spec: TaskSpec) -> TaskSpec:
        """The spec, with what is best chosen by a trained model's answers.

        Args:
            answers: those of a server with `spec`.
            rows: held-out ones, that they answer.
            spec: of the model.
        """
        return spec

    @abc.abstractmethod
    def examples(
        self, rows: R, spec: TaskSpec, vocabulary: Vocabulary
    ) -> Examples:
        """The rows tokenized, for the model.

        Raises: ValueError, naming file and line, for a label that the model
            does not know.
        """

    @abc.abstractmethod
    def losses(self, spec: TaskSpec) -> loop.Losses:
        """By output, as training minimizes them."""

    @abc.abstractmethod
    def metrics(self, spec: TaskSpec) -> loop.Metrics:
        """By output, for the logs of training."""

    @abc.abstractmethod
    def scores(
        self, answers: Answers, rows: R, spec: TaskSpec
    ) -> dict[str, float]:
        """The task's official scores."""

    @abc.abstractmethod
    def row_scores(
        self, answers: Answers, rows: R, spec: TaskSpec
    ) -> list[float]:
        """How good each answer is by itself, the higher the better."""

    def is_right(
        self, answers: Answers, rows: R, spec: TaskSpec
    ) -> Sequence[bool]:
        """Which answers have nothing wrong: those of the highest score."""
        scores = self.row_scores(answers, rows, spec)
        return [score == self.best_row_score for score in scores]

    @abc.abstractmethod
    def wanted(self, rows: R, place: int) -> Any:
        """What a row's answer should be, such as JSON can have it."""

    def label_counts(self, rows: R) -> Mapping[str, int]:
        """How many rows, or parts of rows, have each label.

        Empty for a task whose labels are no names.
        """
        return {}

    def columns(self, spec: TaskSpec | None = None) -> dict[str, Any]:
        """Those fields of TaskSpec that say which columns a table has.

        Args:
            spec: of the model, whose columns stand in for those not given.
        """
        names = ("text_columns", "choice_columns", "label_column")
        given = {name: getattr(self.options, name) for name in names}
        if spec:
            given = {x: v or getattr(spec, x) for x, v in given.items()}
        return {
            "text_columns": tuple(given["text_columns"] or ()),
            "choice_columns": tuple(given["choice_columns"] or ()),
            "label_column": given["label_column"],
        }

    def class_report(
        self, answers: Answers, rows: R, spec: TaskSpec
    ) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and rows of each class, if there are any."""
        return {}
