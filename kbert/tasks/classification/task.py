# SPDX-License-Identifier: Apache-2.0
"""Classes of texts or pairs, one a row or several."""

import collections
from collections.abc import Mapping

import numpy as np

from kbert import features
from kbert.data import labelled_texts, tables
from kbert.data.tables import Rows
from kbert.tasks import TaskSpec, inputs
from kbert.tasks.classification import head, metrics
from kbert.tasks.classification.predictor import LABEL, LABELS, PROBABILITIES
from kbert.tasks.classification.settings import Settings
from kbert.tasks.job import LABEL_COLUMN, Job
from kbert.tasks.task import Task
from kbert.text.tokenizer import Tokenizer

_SEPARATOR = "|"  # between the labels of a row that has several


class ClassificationJob(Job[Rows]):
    """One class a row, or with `multi_label` any number, such as "a|b"."""

    task = "classification"
    metric = metrics.METRIC
    row_score = "probability of the right label"
    one_loss_a_row = True
    takes = (
        *("text_columns", "label_column", "header"),
        *("labels", "class_weights"),
    )

    def read(self, path, spec=None):
        settings = spec.settings if spec else self._settings()
        rows = read_table(self, path, spec, empty_labels=settings.multi_label)
        known = spec.labels if spec else self.options.labels or ()
        by_row = self._labels(rows, settings)
        tables.check_labels(path, rows.lines, by_row, known)
        return rows

    def rows(self, x, y, spec):
        texts = inputs.texts(x, spec.num_texts)
        labels = inputs.labels(y, len(texts[0]))
        names = [_name(label, row) for row, label in enumerate(labels, 1)]
        return Rows("", [*range(1, len(names) + 1)], texts, names)

    def _settings(self):
        """Those of a new model."""
        return Settings(**self.options.settings)

    def spec(self, rows):
        settings = self._settings()
        by_row = self._labels(rows, settings)
        labels = self.options.labels or sorted(set().union(*by_row))
        tables.label_ids(rows, by_row, labels)  # a wrong one is named
        if len(labels) < 2:
            raise ValueError(
                f"{rows.path}: the only label is {', '.join(labels)!r}; "
                "wanted two or more."
            )
        if len({frozenset(row) for row in by_row}) < 2:
            raise ValueError(
                f"{rows.path}: all rows have the labels "
                f"{sorted(set(by_row[0]))}; wanted rows "
                "that differ."
            )
        return TaskSpec(
            task="classification",
            max_seq_length=self.options.max_seq_length,
            labels=tuple(labels),
            num_texts=len(rows.texts),
            settings=settings,
            **self.columns(),
        )

    def _labels(self, rows, settings) -> list[list[str]]:
        """Those of each row."""
        if not settings.multi_label:
            return [[label] for label in rows.labels]
        return [
            [x.strip() for x in label.split(_SEPARATOR) if x.strip()]
            for label in rows.labels
        ]

    def label_counts(self, rows):
        """With those of rows without a label, where there may be several."""
        by_row = self._labels(rows, self._settings())
        counts = collections.Counter(x for row in by_row for x in set(row))
        if none := by_row.count([]):
            counts["(none)"] = none
        return counts

    def examples(self, rows, spec, vocabulary):
        by_row = self._labels(rows, spec.settings)
        ids = tables.label_ids(rows, by_row, spec.labels)
        if spec.settings.multi_label:
            labels = np.zeros((len(rows), len(spec.labels)), np.float32)
            for row, places in zip(labels, ids, strict=True):
                row[places] = 1
        else:
            labels = np.array(ids, np.int32)[:, 0]
        examples = labelled_texts.examples(
            rows.texts,
            labels,
            output=features.LOGITS,
            tokenizer=Tokenizer(vocabulary),
            max_seq_length=spec.max_seq_length,
        )
        weights = self._weights(labels, spec)
        return examples if weights is None else examples.weighted(weights)

    def _weights(self, labels, spec) -> np.ndarray | None:
        """Of the rows; their mean is 1."""
        given = self.options.class_weights
        if given is None:
            return None
        if spec.settings.multi_label:
            raise ValueError("--class_weights: not with --multi_label.")
        if isinstance(given, Mapping):
            if given.keys() != set(spec.labels):
                raise ValueError(
                    f"--class_weights: weights of {sorted(given)}; wanted "
                    f"those of {list(spec.labels)}."
                )
            by_class = np.array([given[label] for label in spec.labels])
        else:
            counts = np.bincount(labels, minlength=len(spec.labels))
            by_class = 1 / np.maximum(counts, 1)
        weights = by_class[labels]
        return weights / weights.mean()

    def losses(self, spec):
        return head.losses(spec.settings.multi_label)

    def metrics(self, spec):
        return head.metrics(spec.settings.multi_label)

    def scores(self, answers, rows, spec):
        wanted = self._labels(rows, spec.settings)
        if spec.settings.multi_label:
            found = [answer[LABELS] for answer in answers]
            return metrics.scores_of_several(found, wanted, spec.labels)
        return metrics.scores(
            [answer[LABEL] for answer in answers],
            [label for (label,) in wanted],
            spec.labels,
        )

    def row_scores(self, answers, rows, spec):
        """The lowest probability that was given to what is right."""
        rights = []
        for answer, wanted in zip(
            answers, self._labels(rows, spec.settings), strict=True
        ):
            numbers = answer[PROBABILITIES]
            right = [numbers[label] for label in wanted]
            if spec.settings.multi_label:
                right += [1 - p for x, p in numbers.items() if x not in wanted]
            rights.append(min(right))
        return rights

    def is_right(self, answers, rows, spec):
        """Those with the labels of their rows, whatever the probability."""
        found = [
            set(answer[LABELS]) if LABELS in answer else {answer[LABEL]}
            for answer in answers
        ]
        right = map(set, self._labels(rows, spec.settings))
        return [one == other for one, other in zip(found, right, strict=True)]

    def wanted(self, rows, place):
        return (rows.labels or [])[place]

    def class_report(self, answers, rows, spec):
        found = [
            answer[LABELS] if LABELS in answer else [answer[LABEL]]
            for answer in answers
        ]
        wanted = self._labels(rows, spec.settings)
        labels = spec.labels
        if not spec.settings.multi_label:  # those that macro_f1 is of
            occurring = set().union(*found, *wanted)
            labels = [label for label in labels if label in occurring]
        return metrics.class_report(found, wanted, labels)


def _name(label, row) -> str:
    """A label, or a list of several, as a table has them."""
    if not isinstance(label, list):
        return inputs.name(label, row)
    names = [inputs.name(one, row) for one in label]
    for name in names:
        if _SEPARATOR in name:
            raise ValueError(
                f"Row {row}: label {name!r}; needs one without {_SEPARATOR!r}."
            )
    return _SEPARATOR.join(names)


def read_table(
    job: Job, path: str, spec: TaskSpec | None, empty_labels: bool = False
) -> Rows:
    """The text columns and the label column of a table.

    Raises: ValueError, naming the flag, if there are too few or too many.
    """
    columns = job.columns(spec)
    names = columns["text_columns"]
    wanted = (spec.num_texts,) if spec else (1, 2)
    if len(names) not in wanted:
        counts = " or ".join(map(str, wanted))
        raise ValueError(
            f"--text_columns={','.join(names)}: wanted {counts} column "
            f"name{'s' if wanted != (1,) else ''}."
        )
    return tables.read_table(
        path,
        names,
        columns["label_column"] or LABEL_COLUMN,
        header=job.options.header,
        encoding=job.options.encoding,
        empty_labels=empty_labels,
    )


class Classifier(Task):
    """Classes of texts or pairs: one a row, or any number with multi_label.

    Texts are strings; labels are names or numbers, of which `labels=` lists
    all; with `multi_label=True` a row's label is a list of them.
    `predict` gives {"label": name, "probabilities": {name: number}} for each
    row; with several labels {"labels": [name, ...], "probabilities": ...}.

    Example:
        model = kbert.Classifier.from_pretrained(
            "all-MiniLM-L6-v2", labels=["bad", "good"]
        )
        model.fit(["A fine film.", "Two dull hours."], ["good", "bad"])
        model.predict(["A film to see again."])
    """

    task = "classification"
    job = ClassificationJob
