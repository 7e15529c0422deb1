# SPDX-License-Identifier: Apache-2.0
"""A number for each text or pair."""

import collections

import numpy as np

from kbert import features
from kbert.data import labelled_texts, tables
from kbert.tasks import inputs
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.regression import metrics
from kbert.tasks.rows import of_lists, read_table


class Regressor(LabelledTask):
    """A number for a text or a pair of texts, such as how alike they are.

    Labels are numbers. `predict` gives {"value": number} for each row.

    Example:
        model = kbert.Regressor.from_pretrained("MiniLM", num_texts=2)
        model.fit((["A man sings."], ["Somebody sings."]), [4.5])
    """

    task = "regression"
    metric = metrics.METRIC
    row_score = "minus the absolute error"
    best_row_score = 0.0
    one_loss_a_row = True
    takes = ("text_columns", "label_column", "header")

    @classmethod
    def _read(cls, path, options, spec):
        return read_table(path, options, spec)

    @classmethod
    def _spec_fields(cls, rows, options):
        numbers = set(tables.label_numbers(rows))
        if len(numbers) < 2:
            raise ValueError(
                f"{rows.path}: the only label is {numbers.pop():g}; needs "
                "numbers that differ."
            )
        return {"num_texts": len(rows.texts)}

    @classmethod
    def label_counts(cls, rows, options):
        """Of the numbers."""
        numbers = tables.label_numbers(rows)
        return collections.Counter(f"{number:g}" for number in numbers)

    def rows(self, x, y):
        return of_lists(x, y, self.spec.num_texts, inputs.name)

    def examples(self, rows):
        return labelled_texts.examples(
            rows.texts,
            np.array(self.labels(rows), np.float32),
            output=features.VALUE,
            tokenizer=self.tokenizer,
            max_seq_length=self.spec.max_seq_length,
            windows=self.spec.windows,
        )

    def labels(self, rows):
        return tables.label_numbers(rows)

    def scores(self, predictions, rows):
        found = [row[features.VALUE] for row in predictions]
        return metrics.scores(found, self.labels(rows))

    def row_scores(self, predictions, rows):
        """How far off each is, below 0."""
        pairs = zip(predictions, self.labels(rows), strict=True)
        return [-abs(row[features.VALUE] - number) for row, number in pairs]
