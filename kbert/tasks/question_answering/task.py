# SPDX-License-Identifier: Apache-2.0
"""Questions whose answers are spans of a paragraph, from SQuAD's JSON."""

import collections
import dataclasses
import sys
from typing import Any

from kbert.data import tables
from kbert.tasks import TaskSpec, inputs
from kbert.tasks.job import Job
from kbert.tasks.question_answering import examples as question_windows
from kbert.tasks.question_answering import head, metrics, squad
from kbert.tasks.question_answering.predictor import (
    ANSWER,
    ANSWERS,
    NO_ANSWER_SCORE,
)
from kbert.tasks.question_answering.squad import Questions
from kbert.tasks.task import Task
from kbert.text.tokenizer import Tokenizer


class QuestionAnsweringJob(Job[Questions]):
    """One answer a question, or none, or with `several_answers` any number."""

    task = "question_answering"
    metric = metrics.METRIC
    row_score = "f1"

    def read(self, path, spec=None):
        rows = squad.read_squad(path, self.options.encoding)
        if rows.wrong:
            print(
                f"{path}: {rows.wrong:,} answers do not stand at their "
                f"answer_start; left out, and {rows.dropped:,} questions that "
                "had no others",
                file=sys.stderr,
            )
        return rows

    def rows(self, x, y, spec):
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

    def read_texts(self, path):
        if tables.extension(path) == ".txt":
            raise ValueError(
                f"{path}: needs questions and contexts, as a .json of SQuAD's "
                "form or a table with both columns."
            )
        return squad.read_squad(path, self.options.encoding, labelled=False)

    def metric_of(self, spec):
        """Where answers may be missing, F1 with the threshold tuned."""
        return "best_f1" if spec.settings.no_answer else self.metric

    def spec(self, rows):
        if not any(rows.answers):
            raise ValueError(
                f"{rows.path}: no question has an answer; wanted some."
            )
        settings = dict(self.options.settings)
        if not settings.get("several_answers"):
            settings["no_answer"] = not all(rows.answers)
        return TaskSpec(
            task="question_answering",
            max_seq_length=self.options.max_seq_length,
            num_texts=2,
            settings=head.HEAD.settings_of(
                self.options.max_seq_length, settings
            ),
        )

    def tuned(self, answers, rows, spec):
        """With the threshold for no answer that gives the best F1."""
        given = "threshold" in self.options.settings
        if given or not spec.settings.no_answer or all(rows.answers):
            return spec
        threshold = _best_thresholds(answers, rows)["best_f1_threshold"]
        settings = dataclasses.replace(spec.settings, threshold=threshold)
        return dataclasses.replace(spec, settings=settings)

    def examples(self, rows, spec, vocabulary):
        return question_windows.examples(
            rows,
            tokenizer=Tokenizer(vocabulary),
            max_seq_length=spec.max_seq_length,
            max_query_length=spec.settings.max_query_length,
            stride=spec.settings.stride,
            several_answers=spec.settings.several_answers,
            whole_words=spec.settings.whole_word_answers,
        )

    def losses(self, spec):
        return head.losses(spec.settings.several_answers)

    def metrics(self, spec):
        return head.metrics(spec.settings.several_answers)

    def scores(self, answers, rows, spec):
        if spec.settings.several_answers:
            return metrics.scores_of_several(
                [_texts(answer) for answer in answers],
                [self.wanted(rows, place) for place in range(len(rows))],
            )
        found = [answer[ANSWER] for answer in answers]
        scores = metrics.scores(found, rows.answer_texts)
        if not spec.settings.no_answer:
            return scores
        return scores | _best_thresholds(answers, rows)

    def row_scores(self, answers, rows, spec):
        """The F1 of each."""
        if spec.settings.several_answers:
            return [
                metrics.question_scores_of_several(
                    _texts(answer), self.wanted(rows, place)
                )[1]
                for place, answer in enumerate(answers)
            ]
        return [
            metrics.question_scores(answer[ANSWER], right)[1]
            for answer, right in zip(answers, rows.answer_texts, strict=True)
        ]

    def label_counts(self, rows):
        """Of questions with and without an answer, where there are both."""
        found = ["answer" if row else "no answer" for row in rows.answers]
        return collections.Counter(found) if "no answer" in found else {}

    def wanted(self, rows, place):
        """The texts of all answers, each place once, in their order."""
        answers = sorted(set(rows.answers[place]), key=lambda x: x.start)
        return [answer.text for answer in answers]


def _texts(answer) -> list[str]:
    return [x["text"] for x in answer[ANSWERS]]


def _best_thresholds(answers, rows) -> dict[str, float]:
    best = [(_texts(answer) or [""])[0] for answer in answers]
    none = [answer[NO_ANSWER_SCORE] for answer in answers]
    return metrics.best_thresholds(best, none, rows.answer_texts)


class QuestionAnswerer(Task):
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
    job = QuestionAnsweringJob
