# SPDX-License-Identifier: Apache-2.0
"""The base class of tasks that are trained and scored on labelled rows."""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

from kbert.data import batching
from kbert.data.batching import Examples
from kbert.tasks import TaskSpec, head, inputs
from kbert.tasks.rows import DataOptions
from kbert.tasks.task import Task
from kbert.training import loop

Predictions = Sequence[Mapping[str, Any]]  # as `Task.predict` gives them


class LabelledTask(Task):
    """A `Task` that is trained and scored on rows with labels.

    A subclass defines `task`, `metric`, `row_score` and the abstract methods,
    and overrides other methods whose defaults do not fit. Each subclass has
    its own type of rows, a `kbert.tasks.rows.Rows`.

    Attributes:
        metric: the score whose highest value tells the best model.
        row_score: the name of a single row's score, such as "f1".
        best_row_score: the score of a row whose prediction is right.
        takes: the optional fields of DataOptions that the task takes.
        one_loss_a_row: whether each row is one example with one loss.
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
        """Implements `read`, after the options are checked."""

    @classmethod
    def read_texts(cls, path: str, options: DataOptions) -> Any:
        """Reads the texts of a file of the task's own format.

        Raises: as `read` does.
        """
        return cls.read(path, options)

    @classmethod
    def new_spec(cls, rows: Any, options: DataOptions) -> TaskSpec:
        """Makes the spec of a new model for these rows.

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
        """Returns the spec's fields that follow from the rows, such as labels.

        Raises: ValueError, naming the file, if there is nothing to learn.
        """

    @classmethod
    def label_counts(cls, rows: Any, options: DataOptions) -> Mapping[str, int]:
        """Counts the rows, or parts of rows, with each label.

        Empty for a task whose labels are not names.
        """
        return {}

    @classmethod
    def spec_from(
        cls, spec: TaskSpec, initial: TaskSpec, options: DataOptions
    ) -> TaskSpec:
        """Adds what a new model's spec takes from that of the initial model.

        Args:
            spec: as `new_spec` makes it.
            initial: of the model to start from.
            options: whose settings go before those of the initial model.
        """
        del options
        embedding = initial.embedding_settings
        return dataclasses.replace(spec, embedding=embedding)

    @abc.abstractmethod
    def rows(self, x: Any, y: Any) -> Any:
        """Makes rows from texts and labels, as `fit` takes them.

        Raises: ValueError, naming the row, counted from 1.
        """

    @abc.abstractmethod
    def examples(self, rows: Any) -> Examples:
        """Tokenizes the rows.

        Raises: ValueError, naming file and line, for a label that the model
            does not have.
        """

    def predict_rows(
        self,
        rows: Any,
        *,
        batch_size: int,
        progress: Callable[[int, int], Any] = lambda done, total: None,
    ) -> Predictions:
        """Predicts for the texts of rows.

        Args:
            rows: with labels or without.
            batch_size: rows at once.
            progress: called with how many rows are done and how many there
                are.
        """
        return self.predictor.predict(
            *rows.texts, batch_size=batch_size, progress=progress
        )

    @abc.abstractmethod
    def scores(self, predictions: Predictions, rows: Any) -> dict[str, float]:
        """Computes the task's official scores, by name."""

    @abc.abstractmethod
    def row_scores(self, predictions: Predictions, rows: Any) -> list[float]:
        """Scores each prediction; higher is better."""

    def is_right(self, predictions: Predictions, rows: Any) -> Sequence[bool]:
        """Tells which predictions are right: those with the best score."""
        scores = self.row_scores(predictions, rows)
        return [score == self.best_row_score for score in scores]

    def labels(self, rows: Any) -> Sequence[Any]:
        """Returns each row's label, as a JSON value."""
        return rows.labels

    def class_report(
        self, predictions: Predictions, rows: Any
    ) -> dict[str, dict[str, float]]:
        """Computes precision, recall, F1 and rows of each class, if any."""
        return {}

    @property
    def selection_metric(self) -> str:
        """The metric that tells the best step of this model."""
        return self.metric

    def tuned(
        self, predictions: Predictions, rows: Any, options: DataOptions
    ) -> Self:
        """Returns the task with settings tuned on validation rows.

        Args:
            predictions: of this model, for the rows.
            rows: validation rows.
            options: settings that are given here are not tuned.
        """
        return self

    def evaluate(
        self, x: Any, y: Any = None, *, batch_size: int = 32
    ) -> dict[str, float]:
        rows = self.rows(*inputs.unzipped(x, y))
        task = self.to_score(rows)
        examples = batching.sorted_by_length(task.examples(rows))
        losses = loop.evaluate(
            task.keras_model,
            batching.dataset(examples, batch_size=batch_size, seed=None),
            losses=task.losses(),
            metrics={name: [] for name in task.losses()},
        )
        found = task.predict_rows(rows, batch_size=batch_size)
        return losses | task.scores(found, rows)

    def to_score(self, rows: Any) -> Self:
        """Returns the task with a loss that such rows have, which is its own.

        A subclass overrides it whose rows may be of several kinds.
        """
        del rows
        return self

    def _examples(self, x, y, sample_weight, class_weight) -> Examples:
        x, y = inputs.unzipped(x, y)
        examples = self.examples(self.rows(x, y))
        has_weights = sample_weight is not None or class_weight is not None
        if y is None and has_weights:
            raise ValueError(
                "sample_weight, class_weight: they are of rows with labels."
            )
        weights = inputs.weights(y, sample_weight, class_weight)
        if weights is None:
            return examples
        if not self.one_loss_a_row:
            raise ValueError(
                f"sample_weight, class_weight: {self.task} has several losses "
                "in a row; they are of tasks with one."
            )
        return examples.weighted(weights)
