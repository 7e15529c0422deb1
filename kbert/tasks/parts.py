# SPDX-License-Identifier: Apache-2.0
"""Which tasks there are, and where their parts are."""

import importlib
import importlib.util
from typing import Any, NamedTuple


class Names(NamedTuple):
    """Where a task's parts are.

    Attributes:
        folder: of the task, here.
        predictor: the class in its predictor.py.
        task: the public class in its task.py.
        trains: whether the class is fine-tuned.
    """

    folder: str
    predictor: str
    task: str
    trains: bool = True


# By the name in a task.json.
TASKS = {
    "encoder": Names("embedding", "EmbeddingPredictor", "Embedder", False),
    "pretraining": Names("masked_lm", "MaskFiller", "MaskedLM", False),
    "masked_lm": Names("masked_lm", "MaskFiller", "MaskedLM", False),
    "next_sentence": Names(
        "masked_lm", "NextSentencePredictor", "MaskedLM", False
    ),
    "classification": Names(
        "classification", "ClassificationPredictor", "Classifier"
    ),
    "regression": Names("regression", "RegressionPredictor", "Regressor"),
    "tagging": Names("tagging", "TaggingPredictor", "Tagger"),
    "question_answering": Names(
        "question_answering", "QuestionPredictor", "QuestionAnswerer"
    ),
    "multiple_choice": Names(
        "multiple_choice", "MultipleChoicePredictor", "MultipleChoice"
    ),
    "summarization": Names(
        "summarization", "SummarizationPredictor", "Summarizer"
    ),
}
FINE_TUNED = tuple(name for name, names in TASKS.items() if names.trains)


def head(task: str) -> Any:
    """The HEAD of a task's head.py, a `kbert.tasks.heads.Head`."""
    return _module(task, "head").HEAD


def settings_class(task: str) -> Any:
    """The Settings in the settings.py of a task in FINE_TUNED, or None.

    It imports neither Keras nor TensorFlow.
    """
    name = f"kbert.tasks.{TASKS[task].folder}.settings"
    if importlib.util.find_spec(name) is None:
        return None
    return importlib.import_module(name).Settings


def predictor_class(task: str) -> Any:
    """The subclass of `kbert.tasks.predictor.Predictor` of a task."""
    return getattr(_module(task, "predictor"), TASKS[task].predictor)


def task_class(task: str) -> Any:
    """The subclass of `kbert.tasks.task.Task` of a task."""
    return getattr(_module(task, "task"), TASKS[task].task)


def job_class(task: str) -> Any:
    """The subclass of `kbert.tasks.job.Job` of a task in FINE_TUNED."""
    return task_class(task).job


def _module(task, file):
    return importlib.import_module(f"kbert.tasks.{TASKS[task].folder}.{file}")
