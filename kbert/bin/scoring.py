# SPDX-License-Identifier: Apache-2.0
"""Scores of a model, for the commands that print them."""


def pretraining_scores(model, record_set, batch_size):
    """Losses, accuracies and label entropies on records, in one dict."""
    from kbert.data import pretraining
    from kbert.training import loop, losses

    batches = pretraining.dataset(record_set, batch_size=batch_size, seed=None)
    with record_set.damage_named():
        scores = loop.evaluate(
            model,
            batches,
            losses=losses.pretraining_losses(),
            metrics=losses.pretraining_metrics(),
        )
        return {**scores, **pretraining.label_entropies(batches)}


def classification_scores(loaded, rows, batch_size):
    """Loss and accuracy of a classifier (a LoadedModel) on a table's rows."""
    from kbert.data import finetuning, tables
    from kbert.text.tokenizer import Tokenizer

    examples = finetuning.tokenized(
        rows,
        tables.label_ids(rows, loaded.spec.labels),
        tokenizer=Tokenizer(loaded.vocabulary),
        max_seq_length=loaded.spec.max_seq_length,
    )
    return examples_scores(loaded.model, examples, batch_size)


def examples_scores(model, examples, batch_size):
    """Loss and accuracy of a classifier on tokenized examples."""
    from kbert.data import finetuning
    from kbert.tasks import classification
    from kbert.training import loop

    return loop.evaluate(
        model,
        finetuning.dataset(examples, batch_size=batch_size, seed=None),
        losses=classification.losses(),
        metrics=classification.metrics(),
    )
