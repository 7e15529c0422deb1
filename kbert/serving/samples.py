# SPDX-License-Identifier: Apache-2.0
"""Makes short requests of one row, which an export's README shows."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from kbert.serving.warmup import MASKED_LM
from kbert.tasks import TaskSpec
from kbert.tasks.predictor import encode
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import MASK, Vocabulary

# Neutral texts, by the names of the inputs.
_NEUTRAL = {
    ("text",): ["This is a sample text."],
    ("text_a", "text_b"): ["The shop opens at nine.", "It closes at six."],
    ("question", "context"): [
        "Where was Ada Lovelace born?",
        "Ada Lovelace was born in London.",
    ],
    ("text", "choices"): ["The shop opens at", "nine.", "noon.", "six."],
    ("query", "texts"): [
        "When does the shop open?",
        "It opens at nine.",
        "It sells bread.",
    ],
    ("words",): ["Ada Lovelace was born in London."],
    ("sentences",): [
        "The shop opens at nine.",
        "It sells bread.",
        "It closes at six.",
    ],
}
_OF_TASK = {
    "tagging": _NEUTRAL[("words",)],
    **dict.fromkeys(MASKED_LM, [f"Paris is the {MASK} of France."]),
}
_MAX_IDS = 12  # of a row of token ids


class Samples:
    """Makes one request for each signature of a model.

    Args:
        vocabulary: the vocabulary of the model.
        spec: the spec of the model.
        specs: the inputs of its serving_default, by name.
        texts: the texts of a row, in the order of the inputs; an input that is
            a list takes all remaining texts. By default neutral texts.
    Raises: ValueError for a wrong number of texts, or if a [MASK] is missing.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        spec: TaskSpec,
        specs: Mapping[str, tf.TensorSpec],
        texts: Sequence[str] = (),
    ):
        self._vocabulary, self._task = vocabulary, spec.task
        self._max_ids = min(spec.max_seq_length, _MAX_IDS)
        self._names, self._texts = _strings(specs), list(texts)
        if texts:
            self._check(specs)

    def _check(self, specs):
        *_, last = self._names
        others, listed = len(self._names) - 1, specs[last].shape.rank == 2
        count = specs[last].shape[1] if listed else 1
        found = len(self._texts) - others
        if found < 1 or (count and found != count):
            needed = f"{others + count}" if count else f"{others + 1} or more"
            raise ValueError(
                f"--sample_text: {len(self._texts)} texts; needs {needed}: "
                f"{', '.join(self._names)}."
            )
        if self._task in MASKED_LM and MASK not in self._texts[0]:
            raise ValueError(
                f"--sample_text={self._texts[0]!r}: needs a {MASK}."
            )

    def request(
        self, name: str, specs: Mapping[str, tf.TensorSpec]
    ) -> predict_pb2.PredictRequest:
        """Makes a request for a signature with these inputs."""
        made = predict_pb2.PredictRequest()
        made.model_spec.name = "kbert"
        made.model_spec.signature_name = name
        ids = "token_ids" in specs
        inputs = self._token_ids(specs) if ids else self._row(specs)
        for key, spec in specs.items():
            value = tf.make_tensor_proto([inputs[key]], spec.dtype)
            made.inputs[key].CopyFrom(value)
        return made

    def _row(self, specs) -> dict[str, Any]:
        """Returns the value of each input."""
        names = _strings(specs)
        texts = self._texts_of(names)
        row: dict[str, Any] = {}
        for name, spec in specs.items():
            if spec.dtype != tf.string:  # the length of the list
                row[name] = len(row[names[-1]])
            elif spec.shape.rank == 1:
                row[name] = encode(texts.pop(0))
            elif name == "words":
                words = re.findall(r"\w+|[^\w\s]", texts[0]) or [texts[0]]
                row[name] = [encode(word) for word in words]
            else:
                count = spec.shape[1] or len(texts)
                times = -(-count // len(texts))
                row[name] = [encode(text) for text in texts * times][:count]
        return row

    def _texts_of(self, names) -> list[str]:
        if self._texts and names in (self._names, ("words",), ("text",)):
            return list(self._texts)
        if names == ("text",):
            return list(_OF_TASK.get(self._task, _NEUTRAL[names]))
        return list(_NEUTRAL[names])

    def _token_ids(self, specs) -> dict[str, Any]:
        """Returns the inputs for [CLS] text [SEP], with the first text."""
        parts = self._texts_of(("text",))[0].split(MASK)
        tokens = Tokenizer(self._vocabulary)(
            tf.constant(list(map(encode, parts)))
        )
        ids: list[int] = []
        for part in tokens.to_list():
            ids += [*part, self._vocabulary.mask_id]
        ids = ids[: min(len(ids) - 1, self._max_ids - 2)]
        ids = [self._vocabulary.cls_id, *ids, self._vocabulary.sep_id]
        shape = [size or 1 for size in specs["token_ids"].shape[1:-1]]
        values = {"token_ids": ids, "segment_ids": [0] * len(ids)}
        return {
            "lengths": np.full(shape, len(ids)).tolist(),
            **{k: np.tile(v, (*shape, 1)).tolist() for k, v in values.items()},
        }


def _strings(specs) -> tuple[str, ...]:
    return tuple(k for k, spec in specs.items() if spec.dtype == tf.string)
