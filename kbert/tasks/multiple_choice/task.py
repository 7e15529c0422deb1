# SPDX-License-Identifier: Apache-2.0
"""Texts with several choices each, one of them right."""

import collections

import numpy as np

from kbert import features
from kbert.data import labelled_texts
from kbert.tasks import inputs
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.multiple_choice import data, metrics
from kbert.tasks.multiple_choice.data import Choices
from kbert.tasks.multiple_choice.predictor import CHOICE, PROBABILITIES
from kbert.tasks.rows import LABEL_COLUMN


class MultipleChoice(LabelledTask):
    """Texts with several choices each, one of which is right.

    Texts are a tuple (texts, lists of choices), as many choices for each as
    `num_choices=` says; labels are indices of the right ones, from 0.
    `predict` gives {"choice": index, "probabilities": [...]} for each row.

    Example:
        model = kbert.MultipleChoice.from_pretrained("MiniLM", num_choices=2)
        model.fit((["The shop opens at"], [["nine.", "the moon."]]), [0])
    """

    task = "multiple_choice"
    metric = metrics.METRIC
    row_score = "probability of the right choice"
    one_loss_a_row = True
    takes = ("text_columns", "choice_columns", "label_column", "header")

    @classmethod
    def _read(cls, path, options, spec):
        columns = options.columns(spec)
        _check_columns(columns)
        rows = data.read_choices(
            path,
            columns["text_columns"],
            columns["choice_columns"],
            columns["label_column"] or LABEL_COLUMN,
            header=options.header,
            encoding=options.encoding,
        )
        found = len(rows.choices[0])
        if spec and found != spec.settings.num_choices:
            raise ValueError(
                f"{path}:{rows.lines[0]}: {found} choices; the model takes "
                f"{spec.settings.num_choices}."
            )
        return rows

    @classmethod
    def _spec_fields(cls, rows, options):
        return {"settings": {"num_choices": len(rows.choices[0])}}

    @classmethod
    def label_counts(cls, rows, options):
        """The indices of the right choices."""
        return collections.Counter(map(str, rows.labels))

    def rows(self, x, y):
        if not isinstance(x, tuple) or len(x) != 2:
            raise ValueError("x: needs a tuple (texts, choices of each).")
        prompts, choices = inputs.columns(x)
        indices = inputs.labels(y, len(prompts))
        for row, (some, index) in enumerate(
            zip(choices, indices, strict=True), 1
        ):
            if type(index) is not int or not 0 <= index < len(some):
                raise ValueError(
                    f"Row {row}: label {index!r}; needs the index of one of "
                    f"{len(some)} choices, from 0."
                )
        lines = [*range(1, len(prompts) + 1)]
        return Choices("", lines, prompts, choices, indices)

    def examples(self, rows):
        return labelled_texts.choice_examples(
            rows.prompts,
            rows.choices,
            np.array(rows.labels, np.int32),
            output=features.LOGITS,
            tokenizer=self.tokenizer,
            max_seq_length=self.spec.max_seq_length,
        )

    def scores(self, predictions, rows):
        found = [row[CHOICE] for row in predictions]
        return metrics.scores(found, rows.labels)

    def row_scores(self, predictions, rows):
        """The probability that was given to the right one."""
        pairs = zip(predictions, rows.labels, strict=True)
        return [row[PROBABILITIES][label] for row, label in pairs]

    def is_right(self, predictions, rows):
        """Tells which predictions chose the right one, at any probability."""
        pairs = zip(predictions, rows.labels, strict=True)
        return [row[CHOICE] == label for row, label in pairs]


def _check_columns(columns):
    texts = columns["text_columns"]
    if len(texts) not in (1, 2):
        raise ValueError(
            f"--text_columns={','.join(texts)}: needs 1 or 2 column names."
        )
    if not columns["choice_columns"]:
        raise ValueError(
            "--choice_columns is missing: needs a column for each choice, or "
            "one of lists."
        )
