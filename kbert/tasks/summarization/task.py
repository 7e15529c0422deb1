# SPDX-License-Identifier: Apache-2.0
"""Documents, some of whose sentences are their summary."""

import collections

from kbert.tasks import inputs
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.summarization import data, metrics
from kbert.tasks.summarization.data import Documents
from kbert.tasks.summarization.predictor import SENTENCES


class Summarizer(LabelledTask):
    """The sentences of a document that are its summary.

    Texts are lists of sentences; labels are lists of 0 and 1, 1 for each
    sentence of the summary. `predict` gives {"summary": [sentence, ...],
    "sentences": [index, ...], "scores": [...]} for each document.

    Example:
        model = kbert.Summarizer.from_pretrained("MiniLM", num_sentences=1)
        model.fit([["It rained.", "We won the cup."]], [[0, 1]])
    """

    task = "summarization"
    metric = metrics.METRIC
    row_score = "rouge l"

    @classmethod
    def _read(cls, path, options, spec):
        metrics.check_rouge()  # early: training may take long
        return data.read_documents(path, options.encoding)

    @classmethod
    def read_texts(cls, path, options):
        raise ValueError(
            f"{path}: needs a .jsonl or a .parquet with a list of strings, "
            f"{SENTENCES!r} or another column that --text_columns names."
        )

    @classmethod
    def _spec_fields(cls, rows, options):
        labels = set().union(*rows.labels)
        if len(labels) < 2:
            raise ValueError(
                f"{rows.path}: the only label is {labels.pop()}; needs 0 and 1."
            )
        return {}

    @classmethod
    def label_counts(cls, rows, options):
        """Of the sentences."""
        return collections.Counter(str(x) for row in rows.labels for x in row)

    def rows(self, x, y):
        metrics.check_rouge()
        (documents,) = inputs.columns(x)
        labels = inputs.labels(y, len(documents))
        for row, (sentences, own) in enumerate(
            zip(documents, labels, strict=True), 1
        ):
            is_list = isinstance(own, list) and len(own) == len(sentences)
            if not is_list or {*own} - {0, 1}:
                raise ValueError(
                    f"Row {row}: labels {own!r}; needs 0 or 1 for each of "
                    f"{len(sentences)} sentences."
                )
        summaries = [
            " ".join(sentences[index] for index in _chosen(own))
            for sentences, own in zip(documents, labels, strict=True)
        ]
        lines = [*range(1, len(documents) + 1)]
        return Documents("", lines, documents, labels, summaries)

    def examples(self, rows):
        return data.examples(
            rows,
            tokenizer=self.tokenizer,
            max_seq_length=self.spec.max_seq_length,
        )

    def labels(self, rows):
        return [
            {"summary": summary, SENTENCES: _chosen(labels)}
            for summary, labels in zip(rows.summaries, rows.labels, strict=True)
        ]

    def scores(self, predictions, rows):
        return metrics.scores(
            _summaries(predictions),
            rows.summaries,
            [row[SENTENCES] for row in predictions],
            [_chosen(labels) for labels in rows.labels],
        )

    def row_scores(self, predictions, rows):
        """ROUGE-L of each summary."""
        found = metrics.rouge(_summaries(predictions), rows.summaries)
        return [row[self.metric] for row in found]

    def is_right(self, predictions, rows):
        """Tells which chose the sentences with label 1, compared as text."""
        return [
            row["summary"] == [sentences[x] for x in _chosen(labels)]
            for row, sentences, labels in zip(
                predictions, rows.sentences, rows.labels, strict=True
            )
        ]


def _summaries(predictions) -> list[str]:
    return [" ".join(row["summary"]) for row in predictions]


def _chosen(labels: list[int]) -> list[int]:
    """The indices of those that are 1."""
    return [index for index, label in enumerate(labels) if label]
