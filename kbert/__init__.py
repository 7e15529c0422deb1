# SPDX-License-Identifier: Apache-2.0
"""BERT on Keras 3 and TensorFlow, from raw text to a served model.

    import kbert

    kbert.load("out/model").predict(["a fine film", "two dull hours"])

Beside `load` and `load_embedder`, the names in `_HOMES` are the public ones.
They are loaded on first use: `import kbert` alone loads neither Keras nor
TensorFlow.
"""

import importlib
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kbert.tasks.embedding.predictor import EmbeddingPredictor
    from kbert.tasks.masked_lm.predictor import MaskFiller
    from kbert.tasks.predictor import Predictor

_HOMES = {
    "BertConfig": "kbert.config",
    "EmbeddingPredictor": "kbert.tasks.embedding.predictor",
    "MaskFiller": "kbert.tasks.masked_lm.predictor",
    "TaskSpec": "kbert.tasks",
    "Predictor": "kbert.tasks.predictor",
    "Tokenizer": "kbert.text.tokenizer",
    "Vocabulary": "kbert.text.vocabulary",
    "build_classifier": "kbert.tasks.classification.head",
    "build_encoder": "kbert.models",
    "build_features": "kbert.models",
    "build_multiple_choice": "kbert.tasks.multiple_choice.head",
    "build_pretrainer": "kbert.models",
    "build_question_answerer": "kbert.tasks.question_answering.head",
    "build_regressor": "kbert.tasks.regression.head",
    "build_summarizer": "kbert.tasks.summarization.head",
    "build_tagger": "kbert.tasks.tagging.head",
    "freeze": "kbert.models",
    "pool": "kbert.models",
}


def load(
    folder: str | os.PathLike, settings: Mapping[str, Any] | None = None
) -> "Predictor | MaskFiller":
    """Reads a model folder for answering texts with `.predict(texts)`.

    A model with a masked-LM output fills in the [MASK]s of texts.

    Args:
        folder: of a model.
        settings: of its task, instead of those in the folder, such as
            {"aggregation": "joined"} of a tagger.
    Raises: ValueError, naming the file, if the folder is not a whole kbert
        model or if its task gives no answer to a text, or for a setting that
        the task has not; OSError. Warns if the model takes two texts and
        cannot tell their segments apart.
    """
    from kbert import tasks
    from kbert.checkpoints import folder as model_folder
    from kbert.tasks.predictor import make_predictor

    loaded = model_folder.load(folder)
    try:
        spec = loaded.spec.with_settings(**(settings or {}))
        server = make_predictor(
            loaded.model, vocabulary=loaded.vocabulary, spec=spec
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    if note := tasks.segment_note(loaded.config, spec):
        warnings.warn(f"{folder}: {note}", stacklevel=2)
    return server


def load_embedder(
    folder: str | os.PathLike,
    *,
    pooling: str | None = None,
    normalize: bool | None = None,
    layer: int = -1,
) -> "EmbeddingPredictor":
    """Reads the encoder of any model folder, for `.predict(texts)`.

    Args:
        folder: of a model of any task.
        pooling: "cls", "mean" or "max": see `kbert.models.pool`. By default
            what the folder says, which a fine-tuned model has from the
            encoder that it started from, or else "mean".
        normalize: whether the vectors have length 1. By default what the
            folder says, or else False.
        layer: 0 for the embeddings, 1 or more for a block's output, negative
            ones counted from the top.
    Raises: ValueError, naming the file, if the folder is not a whole kbert
        model; for a layer that the model has not, or another pooling;
        OSError.
    """
    from kbert import models
    from kbert.checkpoints import folder as model_folder
    from kbert.tasks.embedding import predictor as embedding
    from kbert.tasks.shared_blocks import SharedBlocks

    if pooling not in (None, *models.POOLINGS):
        raise ValueError(
            f"pooling is {pooling!r}; wanted one of {list(models.POOLINGS)}."
        )
    loaded = model_folder.load(folder)
    encoder = models.build_features(loaded.config, layer)
    model_folder.copy_weights(loaded.model, encoder, fewer_blocks=True)
    return embedding.EmbeddingPredictor(
        SharedBlocks().of(encoder),
        vocabulary=loaded.vocabulary,
        spec=embedding.spec_of(loaded.spec, pooling, normalize),
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kbert' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
