# SPDX-License-Identifier: Apache-2.0
"""Queries with texts, which are put in order by how well they answer."""

import collections
from typing import Any

import numpy as np

from kbert import features
from kbert.data import labelled_texts, retrieval, tables
from kbert.tasks import inputs
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.reranking import data, metrics
from kbert.tasks.reranking.predictor import SCORES
from kbert.tasks.reranking.settings import Settings
from kbert.tasks.rows import LABEL_COLUMN, of_lists


class Reranker(LabelledTask):
    """Scores of how well texts answer a query, and their order.

    A cross-encoder: it reads the query together with each text. Settings are
    arguments of `from_pretrained`: activation, "sigmoid" or "none", and loss,
    "binary_crossentropy", "list" or "margin_mse".

    `fit` takes (queries, texts) with labels from 0 to 1; or, without labels,
    (queries, positives, negatives) and any number of further columns of
    negatives; for loss="margin_mse" (queries, positives, negatives) with a
    teacher's margins as labels.

    Example:
        model = kbert.Reranker.from_pretrained("MiniLM")
        model.fit((["how deep?"] * 2, ["Ten metres.", "Blue."]), [1, 0])
        model.predict("how far?", ["Red.", "A mile."])
    """

    task = "reranking"
    metric = "average_precision"
    row_score = "agreement"  # see `row_scores`
    one_loss_a_row = True
    takes = ("text_columns", "label_column", "header")

    @classmethod
    def _read(cls, path, options, spec):
        columns = options.columns(spec)
        names, label = columns["text_columns"], columns["label_column"]
        settings = spec.settings if spec else Settings(**options.settings)
        if retrieval.is_qrels(path):
            raise ValueError(
                f"{path}: a qrels file is scored by a search; needs "
                "kbert-evaluate --embedder, or a table of queries with texts."
            )
        if len(names) < 2:
            raise ValueError(
                f"--text_columns={','.join(names)}: needs 2 column names, a "
                "query and a text, or more: a query, a positive and negatives."
            )
        if len(names) > 2 and settings.loss != "margin_mse":
            if options.label_column:
                raise ValueError(
                    f"--label_column={label}: a positive and its negatives "
                    "need no labels, except with --loss=margin_mse."
                )
            label = None
        else:
            label = label or LABEL_COLUMN
        _check_count(len(names), settings.loss, "--text_columns: ")
        rows = tables.read_table(
            path,
            names,
            label,
            header=options.header,
            encoding=options.encoding,
        )
        return data.of_table(rows)

    @classmethod
    def _spec_fields(cls, rows, options):
        _check_loss(rows, Settings(**options.settings).loss)
        labels = {label for row in rows.labels for label in row}
        if len(labels) < 2:
            raise ValueError(
                f"{rows.path}: the only label is {labels.pop():g}; needs "
                "labels that differ."
            )
        return {}

    @classmethod
    def spec_from(cls, spec, initial, options):
        """With the activation of a reranker, unless the options have one."""
        spec = super().spec_from(spec, initial, options)
        if initial.task != cls.task or "activation" in options.settings:
            return spec
        return spec.with_settings(activation=initial.settings.activation)

    @classmethod
    def label_counts(cls, rows, options):
        """Of the labels of pairs."""
        if not rows.are_pairs:
            return {}
        return collections.Counter(f"{label:g}" for (label,) in rows.labels)

    def rows(self, x, y):
        columns = inputs.columns(x)
        if len(columns) < 2:
            raise ValueError(
                "x: needs a tuple (queries, texts), or (queries, positives, "
                "negatives)."
            )
        loss = self.spec.settings.loss
        _check_count(len(columns), loss, "x: ")
        if len(columns) == 2 or loss == "margin_mse":
            return data.of_table(of_lists(x, y, len(columns), inputs.name))
        if y is not None:
            raise ValueError(
                "y is given; a positive and its negatives need no labels, "
                "except with loss='margin_mse'."
            )
        texts = inputs.texts(x, len(columns))
        lines = [*range(1, len(texts[0]) + 1)]
        return data.of_table(tables.Rows("", lines, texts, None))

    def examples(self, rows):
        by_margin = self.spec.settings.loss == "margin_mse" and rows.margins
        labels = [[x] for x in rows.margins] if by_margin else rows.labels
        return labelled_texts.choice_examples(
            rows.queries,
            rows.candidates,
            np.array(labels, np.float32),
            output=features.LOGITS,
            tokenizer=self.tokenizer,
            max_seq_length=self.spec.max_seq_length,
        )

    def _examples(self, x, y, sample_weight, class_weight):
        x, y = inputs.unzipped(x, y)
        _check_loss(self.rows(x, y), self.spec.settings.loss)
        return super()._examples(x, y, sample_weight, class_weight)

    def predict(
        self,
        x: Any,
        texts: Any = None,
        *,
        batch_size: int = 32,
        **options: Any,
    ) -> Any:
        """Scores texts by how well they answer a query.

        Args:
            x: a query; or a tuple (queries, lists of texts).
            texts: of the one query: a list, an array or a column of a table.
            batch_size: queries at once; 32 texts go through the model at once.
            **options: none.
        Returns: {"scores": [...], "order": [...]}, the score of each text and
            the indices of the texts, the best first; for a tuple a list of
            these.
        Raises: ValueError, naming the row.
        """
        if texts is None:
            return super().predict(x, batch_size=batch_size, **options)
        columns = ([x], [inputs.rows(texts)])
        return super().predict(columns, batch_size=batch_size, **options)[0]

    @property
    def selection_metric(self) -> str:
        by_pair = self.spec.settings.loss == "binary_crossentropy"
        return self.metric if by_pair else "ndcg@10"

    def labels(self, rows):
        """The labels of pairs; a teacher's margins; or the positive's index."""
        if rows.are_pairs:
            return [label for (label,) in rows.labels]
        return rows.margins or [0] * len(rows)

    def scores(self, predictions, rows):
        found = [row[SCORES] for row in predictions]
        threshold = self.spec.settings.threshold
        return metrics.scores(
            rows.queries, rows.candidates, found, rows.labels, threshold
        )

    def row_scores(self, predictions, rows):
        """The reciprocal rank of the positive; of a pair 1 less the error.

        Of equal scores the positive's counts as the lowest. The error of a
        logit is that of its sigmoid.
        """
        if not rows.are_pairs:
            return [
                1 / sum(score >= row[SCORES][0] for score in row[SCORES])
                for row in predictions
            ]
        found = np.array([row[SCORES][0] for row in predictions])
        if self.spec.settings.activation == "none":
            found = 1 / (1 + np.exp(-found))
        return (1 - np.abs(found - self.labels(rows))).tolist()

    def is_right(self, predictions, rows):
        """Tells which positives rank first; which pairs are on their side."""
        if not rows.are_pairs:
            return super().is_right(predictions, rows)
        threshold = self.spec.settings.threshold
        return [
            (row[SCORES][0] >= threshold) == (label >= 0.5)
            for row, label in zip(predictions, self.labels(rows), strict=True)
        ]


def _check_count(count: int, loss: str, where: str) -> None:
    """Raises: ValueError if the loss is not of so many texts."""
    if loss == "margin_mse" and count > 3:
        raise ValueError(
            f"{where}{count} texts; loss=margin_mse needs a query, a positive "
            "and a negative."
        )


def _check_loss(rows, loss: str) -> None:
    """Raises: ValueError if nothing can be learnt from such rows."""
    if loss != "binary_crossentropy" and rows.are_pairs:
        where = f"{rows.path}: " if rows.path else ""
        raise ValueError(
            f"{where}2 texts a row; loss={loss} needs a query, a positive and "
            "negatives."
        )
