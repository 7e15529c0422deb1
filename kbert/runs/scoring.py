# SPDX-License-Identifier: Apache-2.0
"""Scores of a model on validation data."""

import functools
import os
from collections.abc import Iterable, Mapping
from typing import TypeVar

import keras
import numpy as np

from kbert import models
from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel
from kbert.data import batching, record_batches
from kbert.data.batching import Examples
from kbert.data.masking import Masking
from kbert.data.record_sets import RecordSet
from kbert.runs import reports, run_files
from kbert.runs.progress import Progress, shown
from kbert.tasks import inputs
from kbert.tasks.labelled import LabelledTask, Predictions
from kbert.tasks.rows import DataOptions, Rows
from kbert.training import loop, losses

T = TypeVar("T")

# Endings of the names of scores of which higher ones are not better.
_NO_METRIC = ("loss", "error", "threshold")


class RecordScores:
    """Losses and accuracies of a pre-training model on records.

    They are of the outputs that the model has and the records have labels
    for; the masked-LM perplexity is e to the loss. Call it as often as there
    are new weights, and make it outside of a strategy's scope.

    Args:
        model: made for packed rows if there are any.
        record_set: what to score it on.
        batch_size: rows at once.
        masking: of rows that are not masked yet.
    """

    metric = "loss"

    def __init__(
        self,
        model: keras.Model,
        record_set: RecordSet,
        batch_size: int,
        masking: Masking | None,
    ):
        self._record_set, self._masking = record_set, masking
        self._batches = record_batches.dataset(
            record_set, batch_size=batch_size, seed=None, masking=masking
        )
        self._num_batches = -(-record_set.num_rows // batch_size)
        labels = self._batches.element_spec[1]
        self._names = [name for name in model.output if name in labels]
        self._evaluation = loop.Evaluation(
            model,
            losses=chosen(losses.pretraining_losses(), self._names),
            metrics=chosen(losses.pretraining_metrics(), self._names),
        )

    def __call__(self) -> dict[str, float]:
        """Computes the scores with the model's current weights."""
        with self._record_set.explain_damage():
            scores = self._evaluation(
                shown("scoring", self._batches, self._num_batches)
            )
        if "mlm_loss" in scores:
            scores["mlm_perplexity"] = float(np.exp(scores["mlm_loss"]))
        return scores

    @property
    def data(self) -> str:
        """A name of the records and of how they are masked."""
        return run_files.fingerprint(self._record_set.files, self._masking)

    @functools.cached_property
    def label_entropies(self) -> dict[str, float]:
        """Of the same outputs' labels, whatever the model."""
        with self._record_set.explain_damage():
            return record_batches.label_entropies(
                (inputs, chosen(labels, self._names), weights)
                for inputs, labels, weights in self._batches
            )


def record_scores(
    loaded: LoadedModel,
    record_set: RecordSet,
    batch_size: int,
    masking: Masking | None,
) -> dict[str, float]:
    """Scores the pre-training model of a folder, with label entropies.

    Raises: ValueError if the masking is missing, or given in vain.
    """
    record_batches.check_masking([record_set], masking)
    model = loaded.model
    if record_set.row.packed:
        model = models.build_pretrainer(
            loaded.config, list(model.output), packed=True
        )
        folder.copy_weights(loaded.model, model)
    scores = RecordScores(model, record_set, batch_size, masking)
    return {**scores(), **scores.label_entropies}


def chosen(by_output: Mapping[str, T], names: Iterable[str]) -> dict[str, T]:
    """Losses or metrics of some outputs."""
    return {name: by_output[name] for name in names}


class TaskScores:
    """A model's loss and its predictions' official scores on a task's rows.

    The predictions are those of the task's own predictor, from the texts.
    Call it as often as there are new weights, and make it outside of a
    strategy's scope. What it found is used again until `forget` is called.

    Attributes:
        task: as given, or what `tune` made of it.
        metric: the score by which the best model is chosen, or "loss".

    Args:
        task: the model.
        rows: with labels.
        options: how they were read, and how their losses count.
        batch_size: rows at once.
        metric: by which score the best model is chosen, or "loss"; None
            for the task's own.
    Raises: ValueError for a label that the model does not know.
    """

    def __init__(
        self,
        task: LabelledTask,
        rows: Rows,
        options: DataOptions,
        *,
        batch_size: int,
        metric: str | None = None,
    ):
        self.task = task
        self.metric = metric or task.selection_metric
        self._rows, self._options = rows, options
        self._batch_size = batch_size
        examples = tokenized(task, rows, options)
        self._batches = batching.dataset(
            batching.sorted_by_length(examples),
            batch_size=batch_size,
            seed=None,
        )
        self._num_batches = batching.steps_per_epoch(examples, batch_size)
        _ = task.predictor  # made now, outside of a scope
        self._predictions: Predictions | None = None
        self._losses: dict[str, float] | None = None
        self._evaluation = loop.Evaluation(
            task.keras_model,
            losses=task.losses(),
            metrics={name: [] for name in task.losses()},
        )

    def __call__(self) -> dict[str, float]:
        """Computes the scores with the model's current weights."""
        self.forget()
        return self.scores()

    def check_metric(self) -> None:
        """Scores once.

        Raises: ValueError, naming the flag, if the metric is no score.
        """
        self()
        self.forget()

    def forget(self) -> None:
        """To be called when the model has other weights than were scored."""
        self._predictions = self._losses = None

    def tune(self) -> None:
        """Has the task choose settings by its predictions on the rows.

        Later predictions and scores are those with these settings.
        """
        tuned = self.task.tuned(self.predictions(), self._rows, self._options)
        if tuned is not self.task:
            self.task = tuned
            self._predictions = None

    def predictions(self) -> Predictions:
        """Of the rows, by the weights that the model has now."""
        found = self._predictions
        if found is None:
            found = self._predictions = self.task.predict_rows(
                self._rows,
                batch_size=self._batch_size,
                progress=functools.partial(Progress(), "predicting"),
            )
        return found

    def scores(self) -> dict[str, float]:
        """The loss of the weights now, and the scores of their predictions.

        Raises: ValueError, naming the flag, if the metric is none of them.
        """
        predictions = self.predictions()
        if self._losses is None:
            batches = shown("scoring", self._batches, self._num_batches)
            self._losses = self._evaluation(batches)
        scores = self._losses | self.task.scores(predictions, self._rows)
        highest = [x for x in scores if not x.endswith(_NO_METRIC)]
        if self.metric not in ("loss", *highest):
            raise ValueError(
                f"--metric={self.metric}: needs loss, or a score of the task "
                f"that is the better the higher: {', '.join(highest)}."
            )
        return scores

    def report(
        self,
        scores: Mapping[str, float],
        folder: str | os.PathLike,
        worst: int,
    ) -> None:
        """Writes what `reports.write` says of the predictions."""
        report = reports.make(self.task, self._rows, self.predictions(), scores)
        reports.write(folder, report, worst)

    @property
    def data(self) -> str:
        """A name of the rows' file and of how it is read."""
        return run_files.fingerprint([self._rows.path], self._options)


def tokenized(task: LabelledTask, rows: Rows, options: DataOptions) -> Examples:
    """Tokenizes a task's rows, and prints how many are truncated."""
    examples = task.examples(rows)
    if options.class_weights is not None:
        weights = inputs.label_weights(
            task.labels(rows), options.class_weights, task.spec.labels
        )
        examples = examples.weighted(weights)
    print(
        f"{rows.path}: {len(rows):,} rows, {examples.num_truncated:,} of them "
        "truncated"
    )
    return examples
