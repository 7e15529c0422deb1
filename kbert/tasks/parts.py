# SPDX-License-Identifier: Apache-2.0
"""Which tasks there are, and where their parts are."""

import importlib
import importlib.util
from typing import Any, NamedTuple


class Names(NamedTuple):
    """Where a task's parts are, and what it is for.

    Attributes:
        folder: of the task, here.
        predictor: the class in its predictor.py.
        task: the public class in its task.py.
        pipeline_tag: of the Hugging Face Hub, which finds models by it.
        use: what a model does, for its card.
        trains: whether kbert-finetune trains it.
        head: the name of its `kbert.tasks.heads.Head` in its head.py.
    """

    folder: str
    predictor: str
    task: str
    pipeline_tag: str
    use: str
    trains: bool = True
    head: str = "HEAD"


# By the name in a task.json.
TASKS = {
    "encoder": Names(
        "embedding",
        "EmbeddingPredictor",
        "Embedder",
        "feature-extraction",
        "Gives texts vectors; a start for other tasks.",
        trains=False,
        head="ENCODER",
    ),
    "pretraining": Names(
        "masked_lm",
        "MaskFiller",
        "MaskedLM",
        "fill-mask",
        "Fills in words of a text; a start for other tasks.",
        trains=False,
    ),
    "masked_lm": Names(
        "masked_lm",
        "MaskFiller",
        "MaskedLM",
        "fill-mask",
        "Fills in words of a text; a start for other tasks.",
        trains=False,
    ),
    "next_sentence": Names(
        "masked_lm",
        "NextSentencePredictor",
        "MaskedLM",
        "text-classification",
        "Says whether a text follows another.",
        trains=False,
    ),
    "classification": Names(
        "classification",
        "ClassificationPredictor",
        "Classifier",
        "text-classification",
        "Says which of its classes a text or a pair has.",
    ),
    "regression": Names(
        "regression",
        "RegressionPredictor",
        "Regressor",
        "text-classification",
        "Gives a text or a pair a number.",
    ),
    "tagging": Names(
        "tagging",
        "TaggingPredictor",
        "Tagger",
        "token-classification",
        "Finds entities in texts and in lists of words.",
    ),
    "question_answering": Names(
        "question_answering",
        "QuestionPredictor",
        "QuestionAnswerer",
        "question-answering",
        "Answers questions with slices of given texts.",
    ),
    "multiple_choice": Names(
        "multiple_choice",
        "MultipleChoicePredictor",
        "MultipleChoice",
        "multiple-choice",
        "Says which of several texts fits another best.",
    ),
    "reranking": Names(
        "reranking",
        "RerankingPredictor",
        "Reranker",
        "text-ranking",
        "Scores how well texts answer a query, and puts them in order.",
    ),
    "summarization": Names(
        "summarization",
        "SummarizationPredictor",
        "Summarizer",
        "summarization",
        "Chooses the sentences of a document that say the most.",
    ),
    "embedding": Names(
        "embedding",
        "EmbeddingPredictor",
        "Embedder",
        "sentence-similarity",
        "Gives texts vectors, to compare and to find them by.",
    ),
}
FINE_TUNED = tuple(name for name, names in TASKS.items() if names.trains)


def head(task: str) -> Any:
    """The `kbert.tasks.heads.Head` in a task's head.py."""
    return getattr(_module(task, "head"), TASKS[task].head)


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
    """The subclass of `kbert.tasks.task.Task` of a task.

    It is a `kbert.tasks.labelled.LabelledTask` of a task in FINE_TUNED.
    """
    return getattr(_module(task, "task"), TASKS[task].task)


def _module(task, file):
    return importlib.import_module(f"kbert.tasks.{TASKS[task].folder}.{file}")
