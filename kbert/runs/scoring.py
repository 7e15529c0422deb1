# SPDX-License-Identifier: Apache-2.0
"""Scores of a model on held-out data."""

import keras

from kbert.checkpoints.folder import LoadedModel
from kbert.data import finetuning, pretraining, tables
from kbert.data.finetuning import Examples
from kbert.data.record_sets import RecordSet
from kbert.data.tables import Rows
from kbert.runs.progress import shown
from kbert.tasks import TaskSpec, classification
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import Vocabulary
from kbert.training import loop, losses


def pretraining_scores(
    model: keras.Model, record_set: RecordSet, batch_size: int
) -> dict[str, float]:
    """Losses, accuracies and label entropies of a pre-training model."""
    batches = pretraining.dataset(record_set, batch_size=batch_size, seed=None)
    with record_set.damage_named():
        scores = loop.evaluate(
            model,
            shown("scoring", batches, -(-record_set.num_rows // batch_size)),
            losses=losses.pretraining_losses(),
            metrics=losses.pretraining_metrics(),
        )
        return {**scores, **pretraining.label_entropies(batches)}


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
