# SPDX-License-Identifier: Apache-2.0
"""Documents, some of whose sentences are their summary."""

import collections

from kbert.tasks import TaskSpec, inputs
from kbert.tasks.job import Job
from kbert.tasks.summarization import data, head, metrics
from kbert.tasks.summarization.data import Documents
from kbert.tasks.summarization.predictor import SENTENCES
from kbert.tasks.summarization.settings import Settings
from kbert.tasks.task import Task
from kbert.text.tokenizer import Tokenizer


class SummarizationJob(Job[Documents]):
    """The files are JSON Lines of sentences and their labels."""

    task = "summarization"
    metric = metrics.METRIC
    row_score = "rouge l"

    def read(self, path, spec=None):
        metrics.check_rouge()  # early: training may take long
        return data.read_documents(path, self.options.encoding)

    def read_texts(self, path):
        raise ValueError(
            f"{path}: needs a .jsonl or a .parquet with a list of strings, "
            f"{SENTENCES!r} or another column that --text_columns names."
        )

    def rows(self, x, y, spec):
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

    def spec(self, rows):
        labels = set().union(*rows.labels)
        if len(labels) < 2:
            raise ValueError(
                f"{rows.path}: the only label is {labels.pop()}; wanted 0 "
                "and 1."
            )
        return TaskSpec(
            task="summarization",
            max_seq_length=self.options.max_seq_length,
            settings=Settings(**self.options.settings),
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
        return metrics.scores(
            _summaries(answers),
            rows.summaries,
            [answer[SENTENCES] for answer in answers],
            [_chosen(labels) for labels in rows.labels],
        )

    def row_scores(self, answers, rows, spec):
        """ROUGE-L of each summary."""
        found = metrics.rouge(_summaries(answers), rows.summaries)
        return [row[self.metric] for row in found]

    def is_right(self, answers, rows, spec):
        """Those that choose the sentences with label 1, in their words."""
        return [
            answer["summary"] == [sentences[x] for x in _chosen(labels)]
            for answer, sentences, labels in zip(
                answers, rows.sentences, rows.labels, strict=True
            )
        ]

    def wanted(self, rows, place):
        return {
            "summary": rows.summaries[place],
            SENTENCES: _chosen(rows.labels[place]),
        }

    def label_counts(self, rows):
        """Of the sentences."""
        return collections.Counter(str(x) for row in rows.labels for x in row)


def _summaries(answers) -> list[str]:
    return [" ".join(answer["summary"]) for answer in answers]


def _chosen(labels: list[int]) -> list[int]:
    """The places of those that are 1."""
    return [place for place, label in enumerate(labels) if label]


class Summarizer(Task):
    """The sentences of a document that are its summary.

    Texts are lists of sentences; labels are lists of 0 and 1, 1 for each
    sentence of the summary. `predict` gives {"summary": [sentence, ...],
    "sentences": [index, ...], "scores": [...]} for each document.

    Example:
        model = kbert.Summarizer.from_pretrained("MiniLM", num_sentences=1)
        model.fit([["It rained.", "We won the cup."]], [[0, 1]])
    """

    task = "summarization"
    job = SummarizationJob
