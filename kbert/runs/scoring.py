# SPDX-License-Identifier: Apache-2.0
"""Scores of a model on held-out data."""

from collections.abc import Iterable, Mapping
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


def pretraining_scores(
    model: keras.Model,
    record_set: RecordSet,
    batch_size: int,
    masking: Masking | None,
) -> dict[str, float]:
    """Losses, accuracies and label entropies of a pre-training model.

    They are of the outputs that the model has and the records have labels
    for; the masked-LM perplexity is e to the loss. The model must be made
    for packed rows if there are any.
    """
    batches = pretraining.dataset(
        record_set, batch_size=batch_size, seed=None, masking=masking
    )
    labels = batches.element_spec[1]
    names = [name for name in model.output if name in labels]
    with record_set.damage_named():
        scores = loop.evaluate(
            model,
            shown("scoring", batches, -(-record_set.num_rows // batch_size)),
            losses=chosen(losses.pretraining_losses(), names),
            metrics=chosen(losses.pretraining_metrics(), names),
        )
        entropies = pretraining.label_entropies(
            (inputs, chosen(labels, names), weights)
            for inputs, labels, weights in batches
        )
    if "mlm_loss" in scores:
        scores["mlm_perplexity"] = float(np.exp(scores["mlm_loss"]))
    return {**scores, **entropies}


def record_scores(
    loaded: LoadedModel,
    record_set: RecordSet,
    batch_size: int,
    masking: Masking | None,
) -> dict[str, float]:
    """Those of a model folder's pre-training model, on any records.

    Raises: ValueError if the masking is missing, or given in vain.
    """
    pretraining.check_masking([record_set], masking)
    model = loaded.model
    if record_set.row.packed:
        model = models.build_pretrainer(
            loaded.config, list(model.output), packed=True
        )
        folder.copy_weights(loaded.model, model)
    return pretraining_scores(model, record_set, batch_size, masking)


def chosen(by_output: Mapping[str, T], names: Iterable[str]) -> dict[str, T]:
    """Losses or metrics of some outputs."""
    return {name: by_output[name] for name in names}


def classification_scores(
    model: keras.Model, examples: Examples, batch_size: int
) -> dict[str, float]:
    """Loss and accuracy of a classifier."""
    batches = finetuning.dataset(
        finetuning.by_length(examples), batch_size=batch_size, seed=None
    )
    return loop.evaluate(
        model,
        shown("scoring", batches, -(-len(examples) // batch_size)),
        losses=classification.losses(),
        metrics=classification.metrics(),
    )


def table_scores(
    loaded: LoadedModel, rows: Rows, batch_size: int
) -> dict[str, float]:
    """Loss and accuracy of a model folder's classifier on a table.

    Raises: ValueError for a label that the model does not know.
    """
    examples = tokenized(rows, loaded.spec, loaded.vocabulary)
    return classification_scores(loaded.model, examples, batch_size)


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
