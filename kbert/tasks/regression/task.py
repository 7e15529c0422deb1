# SPDX-License-Identifier: Apache-2.0
"""A number for each text or pair."""

import collections

import numpy as np

from kbert import features
from kbert.data import labelled_texts, tables
from kbert.data.tables import Rows
from kbert.tasks import TaskSpec, inputs
from kbert.tasks.classification.task import read_table
from kbert.tasks.job import Job
from kbert.tasks.regression import head, metrics
from kbert.tasks.task import Task
from kbert.text.tokenizer import Tokenizer


class RegressionJob(Job[Rows]):
    """The label column holds numbers."""

    task = "regression"
    metric = metrics.METRIC
    row_score = "minus the absolute error"
    best_row_score = 0.0
    one_loss_a_row = True
    takes = ("text_columns", "label_column", "header")

    def read(self, path, spec=None):
        return read_table(self, path, spec)

    def rows(self, x, y, spec):
        texts = inputs.texts(x, spec.num_texts)
        labels = inputs.labels(y, len(texts[0]))
        names = [inputs.name(label, row) for row, label in enumerate(labels, 1)]
        return Rows("", [*range(1, len(names) + 1)], texts, names)

    def spec(self, rows):
        numbers = set(tables.label_numbers(rows))
        if len(numbers) < 2:
            raise ValueError(
                f"{rows.path}: the only label is {numbers.pop():g}; wanted "
                "numbers that differ."
            )
        return TaskSpec(
            task="regression",
            max_seq_length=self.options.max_seq_length,
            num_texts=len(rows.texts),
            **self.columns(),
        )

    def examples(self, rows, spec, vocabulary):
        return labelled_texts.examples(
            rows.texts,
            np.array(tables.label_numbers(rows), np.float32),
            output=features.VALUE,
            tokenizer=Tokenizer(vocabulary),
            max_seq_length=spec.max_seq_length,
        )

    def losses(self, spec):
        return head.losses()

    def metrics(self, spec):
        return head.metrics()

    def scores(self, answers, rows, spec):
        found = [answer[features.VALUE] for answer in answers]
        return metrics.scores(found, tables.label_numbers(rows))

    def row_scores(self, answers, rows, spec):
        """How far off each is, below 0."""
        return [
            -abs(answer[features.VALUE] - number)
            for answer, number in zip(
                answers, tables.label_numbers(rows), strict=True
            )
        ]

    def label_counts(self, rows):
        """Of the numbers."""
        numbers = tables.label_numbers(rows)
        return collections.Counter(f"{number:g}" for number in numbers)

    def wanted(self, rows, place):
        return float((rows.labels or [])[place])


class Regressor(Task):
    """A number for a text or a pair of texts, such as how alike they are.

    Labels are numbers. `predict` gives {"value": number} for each row.

    Example:
        model = kbert.Regressor.from_pretrained("MiniLM", num_texts=2)
        model.fit((["A man sings."], ["Somebody sings."]), [4.5])
    """

    task = "regression"
    job = RegressionJob
