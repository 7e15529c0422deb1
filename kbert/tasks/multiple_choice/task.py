# SPDX-License-Identifier: Apache-2.0
"""Texts with several choices each, one of them right."""

import collections

from kbert.tasks import TaskSpec, inputs
from kbert.tasks.job import LABEL_COLUMN, Job
from kbert.tasks.multiple_choice import data, head, metrics
from kbert.tasks.multiple_choice.data import Choices
from kbert.tasks.multiple_choice.predictor import CHOICE, PROBABILITIES
from kbert.tasks.multiple_choice.settings import Settings
from kbert.tasks.task import Task
from kbert.text.tokenizer import Tokenizer


class MultipleChoiceJob(Job[Choices]):
    """The label column holds the place of the right choice, from 0."""

    task = "multiple_choice"
    metric = metrics.METRIC
    row_score = "probability of the right choice"
    one_loss_a_row = True
    takes = (
        *("text_columns", "choice_columns"),
        *("label_column", "header"),
    )

    def read(self, path, spec=None):
        columns = self.columns(spec)
        _check_columns(columns)
        rows = data.read_choices(
            path,
            columns["text_columns"],
            columns["choice_columns"],
            columns["label_column"] or LABEL_COLUMN,
            header=self.options.header,
            encoding=self.options.encoding,
        )
        found = len(rows.choices[0])
        if spec and found != spec.settings.num_choices:
            raise ValueError(
                f"{path}:{rows.lines[0]}: {found} choices; the model takes "
                f"{spec.settings.num_choices}."
            )
        return rows

    def rows(self, x, y, spec):
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

    def spec(self, rows):
        return TaskSpec(
            task="multiple_choice",
            max_seq_length=self.options.max_seq_length,
            settings=Settings(num_choices=len(rows.choices[0])),
            **self.columns(),
        )

    def examples(self, rows, spec, vocabulary):
        return data.examples(
            rows,
            tokenizer=Tokenizer(vocabulary),
            max_seq_length=spec.max_seq_length,
        )

    def losses(self, spec):
        return head.losses()

    def metrics(self, spec):
        return head.metrics()

    def scores(self, answers, rows, spec):
        found = [answer[CHOICE] for answer in answers]
        return metrics.scores(found, rows.labels)

    def row_scores(self, answers, rows, spec):
        """The probability that was given to the right one."""
        return [
            answer[PROBABILITIES][label]
            for answer, label in zip(answers, rows.labels, strict=True)
        ]

    def is_right(self, answers, rows, spec):
        """Those that choose the right one, whatever its probability."""
        return [
            answer[CHOICE] == label
            for answer, label in zip(answers, rows.labels, strict=True)
        ]

    def wanted(self, rows, place):
        return rows.labels[place]

    def label_counts(self, rows):
        """The indices of the right choices."""
        return collections.Counter(map(str, rows.labels))


def _check_columns(columns):
    texts = columns["text_columns"]
    if len(texts) not in (1, 2):
        raise ValueError(
            f"--text_columns={','.join(texts)}: wanted 1 or 2 column names."
        )
    if not columns["choice_columns"]:
        raise ValueError(
            "--choice_columns is missing: wanted a column for each choice, or "
            "one of lists."
        )


class MultipleChoice(Task):
    """Texts with several choices each, one of which is right.

    Texts are a tuple (texts, lists of choices), as many choices for each as
    `num_choices=` says; labels are indices of the right ones, from 0.
    `predict` gives {"choice": index, "probabilities": [...]} for each row.

    Example:
        model = kbert.MultipleChoice.from_pretrained("MiniLM", num_choices=2)
        model.fit((["The shop opens at"], [["nine.", "the moon."]]), [0])
    """

    task = "multiple_choice"
    job = MultipleChoiceJob
