# SPDX-License-Identifier: Apache-2.0
"""A task whose rows have labels: read from files, trained on and scored."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from kbert.data import batching
from kbert.data.batching import Examples
from kbert.tasks import TaskSpec, head, inputs
from kbert.tasks.rows import DataOptions
from kbert.tasks.task import Task
from kbert.training import loop

Predictions = Sequence[Mapping[str, Any]]  # as `Task.predict` gives them


class LabelledTask(Task, abc.ABC):
    """A `Task` that is fine-tuned on rows with labels, and scored on them.

    A new task is a subclass with `task`, `metric` and `row_score`, and the
    abstract methods; it overrides others where their defaults do not fit.
    `rows` are of the class's own kind, a `kbert.tasks.rows.Rows`.

    Attributes:
        metric: the score that tells the best model, the higher the better.
        row_score: name of the score of a single row, such as "f1".
        best_row_score: that of a prediction with nothing wrong.
        takes: those fields of DataOptions that not all tasks take.
        one_loss_a_row: whether examples are rows, each with one loss.
    """

    metric: ClassVar[str]
    row_score: ClassVar[str]
    best_row_score: ClassVar[float] = 1.0
    takes: ClassVar[tuple[str, ...]] = ()
    one_loss_a_row: ClassVar[bool] = False

    @classmethod
    def read(
        cls, path: str, options: DataOptions, spec: TaskSpec | None = None
    ) -> Any:
        """Reads the rows of a file with labels.

        Args:
            path: the file.
            options: how to read it.
            spec: of the model that the rows are for, if there is one yet.
        Raises: ValueError, naming file and line or the flag; OSError.
        """
        options.check(cls.task, cls.takes)
        return cls._read(path, options, spec)

    @classmethod
    @abc.abstractmethod
    def _read(
        cls, path: str, options: DataOptions, spec: TaskSpec | None
    ) -> Any:
        """As `read`, whose options are the task's."""

    @classmethod
    def read_texts(cls, path: str, options: DataOptions) -> Any:
        """Reads a file of the task's own kind, of which only texts count.

        Raises: as `read` does.
        """
        return cls.read(path, options)

    @classmethod
    def new_spec(cls, rows: Any, options: DataOptions) -> TaskSpec:
        """That of a model to be trained on some rows.

        Raises: ValueError, naming the file or the flag.
        """
        fields = {**cls._spec_fields(rows, options)}
        settings = {**options.settings, **fields.pop("settings", {})}
        length = options.max_seq_length
        return TaskSpec(
            task=cls.task,
            max_seq_length=length,
            settings=head(cls.task).settings_of(length, settings),
            **options.columns(),
            **fields,
        )

    @classmethod
    @abc.abstractmethod
    def _spec_fields(cls, rows: Any, options: DataOptions) -> Mapping[str, Any]:
        """What the rows say of a new model: labels, num_texts, settings.

        Raises: ValueError, naming the file, if nothing is to be learnt.
        """

    @classmethod
    def label_counts(cls, rows: Any, options: DataOptions) -> Mapping[str, int]:
        """How many rows, or parts of rows, have each label.

        Empty for a task whose labels are no names.
        """
        return {}

    @abc.abstractmethod
    def rows(self, x: Any, y: Any) -> Any:
        """The rows of lists, as `fit` takes them.

        Raises: ValueError, naming the row, from 1.
        """

    @abc.abstractmethod
    def examples(self, rows: Any) -> Examples:
        """The rows tokenized, for the model.

        Raises: ValueError, naming file and line, for a label that the model
            does not know.
        """

    @abc.abstractmethod
    def scores(self, predictions: Predictions, rows: Any) -> dict[str, float]:
        """The task's official scores."""

    @abc.abstractmethod
    def row_scores(self, predictions: Predictions, rows: Any) -> list[float]:
        """How good each prediction is, the higher the better."""

    def is_right(self, predictions: Predictions, rows: Any) -> Sequence[bool]:
        """Which predictions have nothing wrong: those of the best score."""
        scores = self.row_scores(predictions, rows)
        return [score == self.best_row_score for score in scores]

    def labels(self, rows: Any) -> Sequence[Any]:
        """What each row's prediction should be, as JSON can have it."""
        return rows.labels

    def class_report(
        self, predictions: Predictions, rows: Any
    ) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and rows of each class, if there are any."""
        return {}

    @property
    def selection_metric(self) -> str:
        """The metric of this model."""
        return self.metric

    def tuned(
        self, predictions: Predictions, rows: Any, options: DataOptions
    ) -> Self:
        """With those settings that are best chosen by a trained model.

        Args:
            predictions: of this model.
            rows: that they are of, not those it was trained on.
            options: given settings are left as they are.
        """
        return self

    def evaluate(
        self, x: Any, y: Any = None, *, batch_size: int = 32
    ) -> dict[str, float]:
        rows = self.rows(*inputs.unzipped(x, y))
        examples = batching.sorted_by_length(self.examples(rows))
        losses = loop.evaluate(
            self.keras_model,
            batching.dataset(examples, batch_size=batch_size, seed=None),
            losses=self.losses(),
            metrics={name: [] for name in self.losses()},
        )
        found = self.predictor.predict(*rows.texts, batch_size=batch_size)
        return losses | self.scores(found, rows)

    def _examples(self, x, y, sample_weight, class_weight) -> Examples:
        x, y = inputs.unzipped(x, y)
        examples = self.examples(self.rows(x, y))
        weights = inputs.weights(y, sample_weight, class_weight)
        if weights is None:
            return examples
        if not self.one_loss_a_row:
            raise ValueError(
                f"sample_weight, class_weight: {self.task} has several losses "
                "in a row; they are of tasks with one."
            )
        return examples.weighted(weights)
