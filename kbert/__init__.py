# SPDX-License-Identifier: Apache-2.0
"""BERT on Keras 3 and TensorFlow, from raw text to a served model.

    import kbert

    kbert.load("out/model").predict(["a fine film", "two dull hours"])

Beside `load`, the names in `_HOMES` are the public ones. They are loaded on
first use: `import kbert` alone loads neither Keras nor TensorFlow.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kbert.serving.mask_filler import MaskFiller
    from kbert.serving.text_server import TextServer

_HOMES = {
    "BertConfig": "kbert.config",
    "MaskFiller": "kbert.serving.mask_filler",
    "TaskSpec": "kbert.tasks",
    "TextServer": "kbert.serving.text_server",
    "Tokenizer": "kbert.text.tokenizer",
    "Vocabulary": "kbert.text.vocabulary",
    "build_classifier": "kbert.tasks.classification",
    "build_encoder": "kbert.models",
    "build_pretrainer": "kbert.models",
    "build_question_answerer": "kbert.tasks.question_answering",
    "build_regressor": "kbert.tasks.regression",
}


def load(folder: str | os.PathLike) -> "TextServer | MaskFiller":
    """Reads a model folder for answering texts with `.predict(texts)`.

    A model with a masked-LM output fills in the [MASK]s of texts.

    Raises: ValueError, naming the file, if the folder is not a whole kbert
        model or if its task gives no answer to a text; OSError.
    """
    from kbert.checkpoints import folder as model_folder
    from kbert.serving import make_server

    loaded = model_folder.load(folder)
    try:
        return make_server(
            loaded.model, vocabulary=loaded.vocabulary, spec=loaded.spec
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kbert' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
