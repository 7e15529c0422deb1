# SPDX-License-Identifier: Apache-2.0
"""Raw text to answers, the same in `predict` and in an export."""

import keras

from kbert.serving.classification import ClassificationServer
from kbert.serving.mask_filler import MaskFiller
from kbert.serving.multiple_choice import MultipleChoiceServer
from kbert.serving.next_sentence import NextSentenceServer
from kbert.serving.question_answering import QuestionServer
from kbert.serving.regression import RegressionServer
from kbert.serving.shared_blocks import SharedBlocks
from kbert.serving.summarization import SummarizationServer
from kbert.serving.tagging import TaggingServer
from kbert.serving.text_server import TextServer
from kbert.tasks import TaskSpec
from kbert.text.vocabulary import Vocabulary

SERVERS = {
    "classification": ClassificationServer,
    "regression": RegressionServer,
    "tagging": TaggingServer,
    "question_answering": QuestionServer,
    "multiple_choice": MultipleChoiceServer,
    "summarization": SummarizationServer,
    "masked_lm": MaskFiller,
    "pretraining": MaskFiller,
    "next_sentence": NextSentenceServer,
}


def make_server(
    model: keras.Model, *, vocabulary: Vocabulary, spec: TaskSpec
) -> TextServer | MaskFiller:
    """What answers texts with a model of a task, without work for padding.

    Raises: ValueError if the task gives no answer to a text.
    """
    if spec.task not in SERVERS:
        raise ValueError(
            f"The model's task is {spec.task!r}: it gives a text a vector "
            "(kbert-predict --output=embeddings, kbert.load_embedder), and no "
            "answer before it is trained for a task with kbert-finetune."
        )
    model = SharedBlocks().of(model)
    return SERVERS[spec.task](model, vocabulary=vocabulary, spec=spec)
