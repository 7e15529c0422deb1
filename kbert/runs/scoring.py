# SPDX-License-Identifier: Apache-2.0
"""Scores of a model on held-out data."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import keras
import numpy as np

from kbert import models
from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel
from kbert.data import finetuning, pretraining, tables
from kbert.data.finetuning import Examples
from kbert.data.masking import Masking
from kbert.data.record_sets import RecordSet
from kbert.data.tables import Rows
from kbert.runs.progress import shown
from kbert.tasks import TaskSpec, classification
from kbert.text.tokenizer import Tokenizer
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


def classifier_scores(
    model: keras.Model, examples: Examples, batch_size: int
) -> Callable[[], dict[str, float]]:
    """What gives loss and accuracy of a classifier as it is when called.

    Make it outside of a strategy's scope.
    """
    batches = finetuning.dataset(
        finetuning.by_length(examples), batch_size=batch_size, seed=None
    )
    num_batches = -(-len(examples) // batch_size)
    evaluation = loop.Evaluation(
        model,
        losses=classification.losses(),
        metrics=classification.metrics(),
    )
    return lambda: evaluation(shown("scoring", batches, num_batches))


def table_scores(
    loaded: LoadedModel, rows: Rows, batch_size: int
) -> dict[str, float]:
    """Loss and accuracy of a model folder's classifier on a table.

    Raises: ValueError for a label that the model does not know.
    """
    examples = tokenized(rows, loaded.spec, loaded.vocabulary)
    return classifier_scores(loaded.model, examples, batch_size)()


def tokenized(rows: Rows, spec: TaskSpec, vocabulary: Vocabulary) -> Examples:
    """Tokenizes a table's rows, and prints how many were cut."""
    examples = finetuning.tokenized(
        rows,
        tables.label_ids(rows, spec.labels),
        tokenizer=Tokenizer(vocabulary),
        max_seq_length=spec.max_seq_length,
    )
    print(f"{rows.path}: {len(rows):,} rows, {examples.cut:,} of them cut")
    return examples
