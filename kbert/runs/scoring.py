# SPDX-License-Identifier: Apache-2.0
"""Scores of a model on held-out data."""

import functools
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
from kbert.runs.jobs.job import Job, Rows
from kbert.runs.progress import Progress, shown
from kbert.serving import make_server
from kbert.tasks import TaskSpec
from kbert.text.vocabulary import Vocabulary
from kbert.training import loop, losses

T = TypeVar("T")


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

    def __init__(
        self,
        model: keras.Model,
        record_set: RecordSet,
        batch_size: int,
        masking: Masking | None,
    ):
        self._record_set = record_set
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
    scope.

    Args:
        model: of the task.
        job: of the task.
        rows: with labels.
        spec: of the model.
        vocabulary: likewise.
        batch_size: rows at once.
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
    ):
        self._job, self._rows, self._spec = job, rows, spec
        self._batch_size = batch_size
        self._make_server = functools.partial(
            make_server, model, vocabulary=vocabulary
        )
        self._server: Any = self._make_server(spec=spec)
        examples = tokenized(job, rows, spec, vocabulary)
        self._batches = finetuning.dataset(
            finetuning.by_length(examples), batch_size=batch_size, seed=None
        )
        self._num_batches = finetuning.steps_per_epoch(examples, batch_size)
        self._evaluation = loop.Evaluation(
            model,
            losses=job.losses(spec),
            metrics={name: [] for name in job.losses(spec)},
        )

    def __call__(self) -> dict[str, float]:
        """Those of the weights that the model has now."""
        return self._scores_and_answers()[0]

    def tuned(self) -> tuple[TaskSpec, dict[str, float]]:
        """The spec that the job chooses by the answers, and scores with it.

        Later scores are those with it too.
        """
        scores, answers = self._scores_and_answers()
        spec = self._job.tuned(answers, self._rows, self._spec)
        if spec != self._spec:
            self._spec, self._server = spec, self._make_server(spec=spec)
            scores |= self._job.scores(self.answers(), self._rows, spec)
        return spec, scores

    def _scores_and_answers(self):
        batches = shown("scoring", self._batches, self._num_batches)
        losses = self._evaluation(batches)
        answers = self.answers()
        scores = self._job.scores(answers, self._rows, self._spec)
        return losses | scores, answers

    def answers(self) -> list[dict[str, Any]]:
        """What the model answers to the rows now."""
        return self._server.predict(
            *self._rows.texts,
            batch_size=self._batch_size,
            progress=functools.partial(Progress(), "answering"),
        )


def tokenized(
    job: Job, rows: Rows, spec: TaskSpec, vocabulary: Vocabulary
) -> Examples:
    """Tokenizes a task's rows, and prints how many were cut."""
    examples = job.examples(rows, spec, vocabulary)
    print(f"{rows.path}: {len(rows):,} rows, {examples.cut:,} of them cut")
    return examples
