# SPDX-License-Identifier: Apache-2.0
"""BERT on Keras 3 and TensorFlow, from raw text to a served model.

    import kbert

    model = kbert.Classifier.from_pretrained(
        "all-MiniLM-L6-v2/", labels=["bad", "good"]
    )
    model.fit(texts, labels, validation_data=(dev_texts, dev_labels), epochs=3)
    model.evaluate(dev_texts, dev_labels)
    model.predict(["A fine film."])
    model.save("out/sentiment")
    kbert.load("out/sentiment").export("out/serving/sentiment")

The public names are `load` and those in `_HOMES`. They are imported on first
use: `import kbert` alone loads neither Keras nor TensorFlow.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; at run time see _HOMES
    from kbert.config import BertConfig as BertConfig
    from kbert.models import build_encoder as build_encoder
    from kbert.models import build_features as build_features
    from kbert.models import build_pretrainer as build_pretrainer
    from kbert.models import freeze as freeze
    from kbert.models import pool as pool
    from kbert.tasks import TaskSpec as TaskSpec
    from kbert.tasks.classification.head import (
        build_classifier as build_classifier,
    )
    from kbert.tasks.classification.task import Classifier as Classifier
    from kbert.tasks.embedding.task import Embedder as Embedder
    from kbert.tasks.masked_lm.task import MaskedLM as MaskedLM
    from kbert.tasks.multiple_choice.head import (
        build_multiple_choice as build_multiple_choice,
    )
    from kbert.tasks.multiple_choice.task import (
        MultipleChoice as MultipleChoice,
    )
    from kbert.tasks.question_answering.head import (
        build_question_answerer as build_question_answerer,
    )
    from kbert.tasks.question_answering.task import (
        QuestionAnswerer as QuestionAnswerer,
    )
    from kbert.tasks.regression.head import build_regressor as build_regressor
    from kbert.tasks.regression.task import Regressor as Regressor
    from kbert.tasks.reranking.head import build_reranker as build_reranker
    from kbert.tasks.reranking.task import Reranker as Reranker
    from kbert.tasks.summarization.head import (
        build_summarizer as build_summarizer,
    )
    from kbert.tasks.summarization.task import Summarizer as Summarizer
    from kbert.tasks.tagging.head import build_tagger as build_tagger
    from kbert.tasks.tagging.task import Tagger as Tagger
    from kbert.tasks.task import Task
    from kbert.text.tokenizer import Tokenizer as Tokenizer
    from kbert.text.vocabulary import Vocabulary as Vocabulary

_HOMES = {
    # A class per task, which takes raw text.
    "Classifier": "kbert.tasks.classification.task",
    "Embedder": "kbert.tasks.embedding.task",
    "MaskedLM": "kbert.tasks.masked_lm.task",
    "MultipleChoice": "kbert.tasks.multiple_choice.task",
    "QuestionAnswerer": "kbert.tasks.question_answering.task",
    "Regressor": "kbert.tasks.regression.task",
    "Reranker": "kbert.tasks.reranking.task",
    "Summarizer": "kbert.tasks.summarization.task",
    "Tagger": "kbert.tasks.tagging.task",
    # Their parts, for custom models.
    "BertConfig": "kbert.config",
    "TaskSpec": "kbert.tasks",
    "Tokenizer": "kbert.text.tokenizer",
    "Vocabulary": "kbert.text.vocabulary",
    "build_classifier": "kbert.tasks.classification.head",
    "build_encoder": "kbert.models",
    "build_features": "kbert.models",
    "build_multiple_choice": "kbert.tasks.multiple_choice.head",
    "build_pretrainer": "kbert.models",
    "build_question_answerer": "kbert.tasks.question_answering.head",
    "build_regressor": "kbert.tasks.regression.head",
    "build_reranker": "kbert.tasks.reranking.head",
    "build_summarizer": "kbert.tasks.summarization.head",
    "build_tagger": "kbert.tasks.tagging.head",
    "freeze": "kbert.models",
    "pool": "kbert.models",
}


def load(
    path: str | os.PathLike,
    *,
    lower_case: bool | None = None,
    **settings: Any,
) -> "Task":
    """Loads a model as an instance of its task's class.

    Args:
        path: a model folder that kbert saved, or any path that
            `Task.from_pretrained` reads.
        lower_case: the casing, if no file gives it.
        **settings: task settings that replace those in the folder, such as
            aggregation="joined" for a tagger.
    Returns: a `Classifier`, `Tagger` or another of the public classes, ready
        for predict, fit and export.
    Raises: ValueError, naming the file, if the model is incomplete, or for a
        setting that the task does not have; OSError.
    """
    from kbert.tasks import task

    return task.load(path, lower_case=lower_case, **settings)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kbert' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
