# SPDX-License-Identifier: Apache-2.0
"""Classes of texts or pairs, one a row or several."""

import collections

import numpy as np

from kbert import features
from kbert.data import labelled_texts, tables
from kbert.tasks import inputs
from kbert.tasks.classification import metrics
from kbert.tasks.classification.predictor import LABEL, LABELS, PROBABILITIES
from kbert.tasks.classification.settings import Settings
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.rows import of_lists, read_table

_SEPARATOR = "|"  # between the labels of a row that has several


class Classifier(LabelledTask):
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
    metric = metrics.METRIC
    row_score = "probability of the right label"
    one_loss_a_row = True
    takes = (
        *("text_columns", "label_column", "header"),
        *("labels", "class_weights"),
    )

    @classmethod
    def _read(cls, path, options, spec):
        settings = spec.settings if spec else Settings(**options.settings)
        several = settings.multi_label
        rows = read_table(path, options, spec, empty_labels=several)
        known = spec.labels if spec else options.labels or ()
        tables.check_labels(path, rows.lines, _names(rows, several), known)
        return rows

    @classmethod
    def _spec_fields(cls, rows, options):
        several = Settings(**options.settings).multi_label
        names = _names(rows, several)
        labels = options.labels or sorted(set().union(*names))
        tables.label_ids(rows, names, labels)  # a wrong one is named
        if len(labels) < 2:
            raise ValueError(
                f"{rows.path}: the only label is {', '.join(labels)!r}; "
                "needs two or more."
            )
        if len({frozenset(row) for row in names}) < 2:
            raise ValueError(
                f"{rows.path}: all rows have the labels "
                f"{sorted(set(names[0]))}; needs rows that differ."
            )
        if several and options.class_weights is not None:
            raise ValueError("--class_weights: not with --multi_label.")
        return {"labels": tuple(labels), "num_texts": len(rows.texts)}

    @classmethod
    def label_counts(cls, rows, options):
        """With those of rows without a label, where there may be several."""
        names = _names(rows, Settings(**options.settings).multi_label)
        counts = collections.Counter(x for row in names for x in set(row))
        if none := names.count([]):
            counts["(none)"] = none
        return counts

    def rows(self, x, y):
        return of_lists(x, y, self.spec.num_texts, _name)

    def examples(self, rows):
        ids = tables.label_ids(rows, self._names(rows), self.spec.labels)
        if self.spec.settings.multi_label:
            labels = np.zeros((len(rows), len(self.spec.labels)), np.float32)
            for row, indices in zip(labels, ids, strict=True):
                row[indices] = 1
        else:
            labels = np.array(ids, np.int32)[:, 0]
        return labelled_texts.examples(
            rows.texts,
            labels,
            output=features.LOGITS,
            tokenizer=self.tokenizer,
            max_seq_length=self.spec.max_seq_length,
            windows=self.spec.windows,
        )

    def scores(self, predictions, rows):
        found, names = _predicted(predictions), self._names(rows)
        if self.spec.settings.multi_label:
            return metrics.multi_label_scores(found, names, self.spec.labels)
        return metrics.scores(
            [label for (label,) in found],
            [label for (label,) in names],
            self.spec.labels,
        )

    def row_scores(self, predictions, rows):
        """The lowest probability that was given to what is right."""
        found = []
        for row, names in zip(predictions, self._names(rows), strict=True):
            numbers = row[PROBABILITIES]
            right = [numbers[name] for name in names]
            if self.spec.settings.multi_label:
                right += [1 - p for x, p in numbers.items() if x not in names]
            found.append(min(right))
        return found

    def is_right(self, predictions, rows):
        """Tells which have the labels of their rows, at any probability."""
        pairs = zip(_predicted(predictions), self._names(rows), strict=True)
        return [set(found) == set(names) for found, names in pairs]

    def class_report(self, predictions, rows):
        found, names = _predicted(predictions), self._names(rows)
        labels = self.spec.labels
        if not self.spec.settings.multi_label:  # those that macro_f1 is of
            occurring = set().union(*found, *names)
            labels = [label for label in labels if label in occurring]
        return metrics.class_report(found, names, labels)

    def _names(self, rows) -> list[list[str]]:
        return _names(rows, self.spec.settings.multi_label)


def _names(rows, several) -> list[list[str]]:
    """The labels of each row."""
    if not several:
        return [[label] for label in rows.labels]
    return [
        [x.strip() for x in label.split(_SEPARATOR) if x.strip()]
        for label in rows.labels
    ]


def _predicted(predictions) -> list[list[str]]:
    """The labels that each row was given."""
    return [x[LABELS] if LABELS in x else [x[LABEL]] for x in predictions]


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
