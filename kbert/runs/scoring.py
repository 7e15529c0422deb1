# SPDX-License-Identifier: Apache-2.0
"""Scores of a model on held-out data."""

import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np

from kbert import models
from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel
from kbert.data import finetuning, pretraining
from kbert.data.finetuning import Examples
from kbert.data.masking import Masking
from kbert.data.record_sets import RecordSet
from kbert.runs import files, reports
from kbert.runs.progress import Progress, shown
from kbert.tasks import TaskSpec
from kbert.tasks.job import Answers, Job, Rows
from kbert.tasks.predictor import make_predictor
from kbert.text.vocabulary import Vocabulary
from kbert.training import loop, losses

T = TypeVar("T")

# What scores that are not the better the higher end with.
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
        self._batches = pretraining.dataset(
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
        """Those of the weights that the model has now."""
        with self._record_set.damage_named():
            scores = self._evaluation(
                shown("scoring", self._batches, self._num_batches)
            )
        if "mlm_loss" in scores:
            scores["mlm_perplexity"] = float(np.exp(scores["mlm_loss"]))
        return scores

    @property
    def data(self) -> str:
        """A name of the records and of how they are masked."""
        return files.fingerprint(self._record_set.files, self._masking)

    @functools.cached_property
    def label_entropies(self) -> dict[str, float]:
        """Of the same outputs' labels, whatever the model."""
        with self._record_set.damage_named():
            return pretraining.label_entropies(
                (inputs, chosen(labels, self._names), weights)
                for inputs, labels, weights in self._batches
            )


def record_scores(
    loaded: LoadedModel,
    record_set: RecordSet,
    batch_size: int,
    masking: Masking | None,
) -> dict[str, float]:
    """Those of a model folder's pre-training model, with label entropies.

    Raises: ValueError if the masking is missing, or given in vain.
    """
    pretraining.check_masking([record_set], masking)
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
    """A model's loss and its answers' official scores on a task's rows.

    The answers are those of the task's own server, from the texts. Call it
    as often as there are new weights, and make it outside of a strategy's
    scope. What it found is used again until `forget` is called.

    Attributes:
        metric: the score that tells the best model, or "loss".

    Args:
        model: of the task.
        job: of the task.
        rows: with labels.
        spec: of the model.
        vocabulary: likewise.
        batch_size: rows at once.
        metric: which score tells the best model, or "loss"; None for the
            task's own.
    Raises: ValueError for a label that the model does not know.
    """

    def __init__(
        self,
        model: keras.Model,
        job: Job,
        rows: Rows,
        *,
        spec: TaskSpec,
        vocabulary: Vocabulary,
        batch_size: int,
        metric: str | None = None,
    ):
        self.metric = metric or job.metric_of(spec)
        self._job, self._rows, self._spec = job, rows, spec
        self._vocabulary = vocabulary
        self._batch_size = batch_size
        self._make_server = functools.partial(
            make_predictor, model, vocabulary=vocabulary
        )
        self._server: Any = self._make_server(spec=spec)
        examples = tokenized(job, rows, spec, vocabulary)
        self._batches = finetuning.dataset(
            finetuning.by_length(examples), batch_size=batch_size, seed=None
        )
        self._num_batches = finetuning.steps_per_epoch(examples, batch_size)
        self._answers: Answers | None = None
        self._losses: dict[str, float] | None = None
        self._evaluation = loop.Evaluation(
            model,
            losses=job.losses(spec),
            metrics={name: [] for name in job.losses(spec)},
        )

    def __call__(self) -> dict[str, float]:
        """Those of the weights that the model has now."""
        self.forget()
        self._answers = self.answers()
        return self.scores(self._answers)

    def check_metric(self) -> None:
        """Scores once.

        Raises: ValueError, naming the flag, if the metric is no score.
        """
        self()
        self.forget()

    def forget(self) -> None:
        """To be called when the model has other weights than were scored."""
        self._answers = self._losses = None

    def tuned(self) -> tuple[TaskSpec, Answers]:
        """The spec that the job chooses by the answers, and answers with it.

        Later answers and scores are those with it too.
        """
        answers = self._answers or self.answers()
        spec = self._job.tuned(answers, self._rows, self._spec)
        if spec != self._spec:
            self._spec, self._server = spec, self._make_server(spec=spec)
            answers = self.answers()
        return spec, answers

    def answers(self) -> list[dict[str, Any]]:
        """What the model answers to the rows now."""
        return self._server.predict(
            *self._rows.texts,
            batch_size=self._batch_size,
            progress=functools.partial(Progress(), "answering"),
        )

    def scores(self, answers: Answers) -> dict[str, float]:
        """The loss of the weights now, and the scores of their answers.

        Raises: ValueError, naming the flag, if the metric is none of them.
        """
        if self._losses is None:
            batches = shown("scoring", self._batches, self._num_batches)
            self._losses = self._evaluation(batches)
        scores = self._losses | self._job.scores(
            answers, self._rows, self._spec
        )
        highest = [x for x in scores if not x.endswith(_NO_METRIC)]
        if self.metric not in ("loss", *highest):
            raise ValueError(
                f"--metric={self.metric}: wanted loss, or a score of the task "
                f"that is the better the higher: {', '.join(highest)}."
            )
        return scores

    def report(
        self,
        answers: Answers,
        scores: Mapping[str, float],
        folder: str | os.PathLike,
        worst: int,
    ) -> None:
        """Writes what `reports.write` tells of the answers."""
        report = reports.make(
            self._job,
            self._rows,
            answers,
            scores,
            spec=self._spec,
            vocabulary=self._vocabulary,
        )
        reports.write(folder, report, worst)

    @property
    def data(self) -> str:
        """A name of the rows' file and of how it is read."""
        return files.fingerprint([self._rows.path], self._job.options)


def tokenized(
    job: Job, rows: Rows, spec: TaskSpec, vocabulary: Vocabulary
) -> Examples:
    """Tokenizes a task's rows, and prints how many are truncated."""
    examples = job.examples(rows, spec, vocabulary)
    print(
        f"{rows.path}: {len(rows):,} rows, {examples.num_truncated:,} of them "
        "truncated"
    )
    return examples
