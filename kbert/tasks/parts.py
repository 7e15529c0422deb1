# SPDX-License-Identifier: Apache-2.0
"""Which tasks there are, and where their parts are."""

import importlib
from typing import Any, NamedTuple


class Names(NamedTuple):
    """Where a task's parts are.

    Attributes:
        folder: of the task, here.
        predictor: the class in its predictor.py.
        job: the class in its task.py, None where nothing is fine-tuned.
    """

    folder: str
    predictor: str
    job: str | None = None


# By the name in a task.json.
TASKS = {
    "encoder": Names("embedding", "EmbeddingPredictor"),
    "pretraining": Names("masked_lm", "MaskFiller"),
    "masked_lm": Names("masked_lm", "MaskFiller"),
    "next_sentence": Names("next_sentence", "NextSentencePredictor"),
    "classification": Names(
        "classification", "ClassificationPredictor", "ClassificationJob"
    ),
    "regression": Names("regression", "RegressionPredictor", "RegressionJob"),
    "tagging": Names("tagging", "TaggingPredictor", "TaggingJob"),
    "question_answering": Names(
        "question_answering", "QuestionPredictor", "QuestionAnsweringJob"
    ),
    "multiple_choice": Names(
        "multiple_choice", "MultipleChoicePredictor", "MultipleChoiceJob"
    ),
    "summarization": Names(
        "summarization", "SummarizationPredictor", "SummarizationJob"
    ),
}
FINE_TUNED = tuple(name for name, names in TASKS.items() if names.job)


def head(task: str) -> Any:
    """The HEAD of a task's head.py, a `kbert.tasks.heads.Head`."""
    return _module(task, "head").HEAD


def predictor_class(task: str) -> Any:
    """The subclass of `kbert.tasks.predictor.Predictor` of a task."""
    return getattr(_module(task, "predictor"), TASKS[task].predictor)


def job_class(task: str) -> Any:
    """The subclass of `kbert.tasks.job.Job` of a task in FINE_TUNED."""
    return getattr(_module(task, "task"), str(TASKS[task].job))


def _module(task, file):
    return importlib.import_module(f"kbert.tasks.{TASKS[task].folder}.{file}")
