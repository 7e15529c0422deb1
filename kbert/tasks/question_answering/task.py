# SPDX-License-Identifier: Apache-2.0
"""Questions whose answers are spans of a paragraph, from SQuAD's JSON."""

import collections
import dataclasses
import sys
from typing import Any

from kbert.data import tables
from kbert.tasks import inputs
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.question_answering import examples as question_windows
from kbert.tasks.question_answering import metrics, squad
from kbert.tasks.question_answering.predictor import (
    ANSWER,
    ANSWERS,
    NO_ANSWER_SCORE,
)
from kbert.tasks.question_answering.squad import Questions


class QuestionAnswerer(LabelledTask):
    """Questions whose answers are slices of a text of any length.

    Texts are a tuple (questions, contexts). A label is {"text": [...],
    "answer_start": [...]} as in SQuAD, the characters at which answers begin
    in the context; None where there is no answer, for a model that is made
    with `no_answer=True`. `predict` gives {"answer", "start", "end", "score",
    "answers": [...]} for each question.

    Example:
        model = kbert.QuestionAnswerer.from_pretrained("MiniLM")
        model.fit(
            (["Who wrote it?"], ["Ada Lovelace wrote it."]),
            [{"text": ["Ada Lovelace"], "answer_start": [0]}],
        )
    """

    task = "question_answering"
    metric = metrics.METRIC
    row_score = "f1"

    @classmethod
    def _read(cls, path, options, spec):
        rows = squad.read_squad(path, options.encoding)
        if rows.wrong:
            print(
                f"{path}: {rows.wrong:,} answers are not at their "
                f"answer_start; left out, and {rows.dropped:,} questions that "
                "had no others",
                file=sys.stderr,
            )
        return rows

    @classmethod
    def read_texts(cls, path, options):
        if tables.extension(path) == ".txt":
            raise ValueError(
                f"{path}: needs questions and contexts, as a .json of SQuAD's "
                "form or a table with both columns."
            )
        return squad.read_squad(path, options.encoding, labelled=False)

    @classmethod
    def _spec_fields(cls, rows, options):
        if not any(rows.answers):
            raise ValueError(
                f"{rows.path}: no question has an answer; needs some."
            )
        settings = {}
        if not options.settings.get("several_answers"):
            settings["no_answer"] = not all(rows.answers)
        return {"num_texts": 2, "settings": settings}

    @classmethod
    def label_counts(cls, rows, options):
        """Of questions with and without an answer, where there are both."""
        found = ["answer" if row else "no answer" for row in rows.answers]
        return collections.Counter(found) if "no answer" in found else {}

    def rows(self, x, y):
        if not isinstance(x, tuple) or len(x) != 2:
            raise ValueError("x: needs a tuple (questions, contexts).")
        questions, contexts = inputs.columns(x)
        answers = [
            squad.answers_of(answer, context, row)
            for row, (answer, context) in enumerate(
                zip(inputs.labels(y, len(questions)), contexts, strict=True), 1
            )
        ]
        ids: list[Any] = [*range(1, len(questions) + 1)]
        return Questions("", ids, questions, contexts, answers, 0, 0)

    def examples(self, rows):
        settings = self.spec.settings
        return question_windows.examples(
            rows,
            tokenizer=self.tokenizer,
            max_seq_length=self.spec.max_seq_length,
            max_query_length=settings.max_query_length,
            stride=settings.stride,
            several_answers=settings.several_answers,
            whole_words=settings.whole_word_answers,
        )

    @property
    def selection_metric(self):
        """Where answers may be missing, F1 with the threshold tuned."""
        return "best_f1" if self.spec.settings.no_answer else self.metric

    def tuned(self, predictions, rows, options):
        """With the threshold for no answer that gives the best F1."""
        given = "threshold" in options.settings
        if given or not self.spec.settings.no_answer or all(rows.answers):
            return self
        threshold = _best_thresholds(predictions, rows)["best_f1_threshold"]
        spec = self.spec.with_settings(threshold=threshold)
        return type(self)(dataclasses.replace(self.loaded, spec=spec))

    def labels(self, rows):
        """The texts of all answers, each once, in their order."""
        return [
            [x.text for x in sorted(set(answers), key=lambda x: x.start)]
            for answers in rows.answers
        ]

    def scores(self, predictions, rows):
        if self.spec.settings.several_answers:
            found = [*map(_texts, predictions)]
            return metrics.scores_of_several(found, self.labels(rows))
        found = [row[ANSWER] for row in predictions]
        scores = metrics.scores(found, rows.answer_texts)
        if not self.spec.settings.no_answer:
            return scores
        return scores | _best_thresholds(predictions, rows)

    def row_scores(self, predictions, rows):
        """The F1 of each."""
        if self.spec.settings.several_answers:
            pairs = zip(predictions, self.labels(rows), strict=True)
            return [
                metrics.question_scores_of_several(_texts(row), texts)[1]
                for row, texts in pairs
            ]
        return [
            metrics.question_scores(row[ANSWER], texts)[1]
            for row, texts in zip(predictions, rows.answer_texts, strict=True)
        ]


def _texts(prediction) -> list[str]:
    return [x["text"] for x in prediction[ANSWERS]]


def _best_thresholds(predictions, rows) -> dict[str, float]:
    best = [(_texts(row) or [""])[0] for row in predictions]
    none = [row[NO_ANSWER_SCORE] for row in predictions]
    return metrics.best_thresholds(best, none, rows.answer_texts)
