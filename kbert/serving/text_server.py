# SPDX-License-Identifier: Apache-2.0
"""Raw text to answers in one graph: prediction and export both run it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from kbert import features
from kbert.tasks import TaskSpec, classification
from kbert.text.packing import pack
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import Vocabulary

# Names in the signature, which clients see. Each is (B,) string but for the
# probabilities, (B, C) float32, C in the order of the task's labels.
TEXT_INPUTS = {1: ("text",), 2: ("text_a", "text_b")}  # by texts an example
PROBABILITIES = "probabilities"
LABEL = "label"


class TextServer(tf.Module):
    """Answers texts: tokenizer, packing, model and decoding.

    Call: texts (B,) string, one tensor for each text of an example
        -> {"probabilities": (B, C) float32, "label": (B,) string}.
    Rows are padded to the longest of their batch; texts that are too long
    are cut. Bytes that are not UTF-8 are no error.

    Attributes:
        labels: the classes' names, in the order of the probabilities.
        text_inputs: names of the texts, as in the signature.
    Raises: ValueError if the task gives no answer to a text.
    """

    def __init__(
        self, model: keras.Model, *, vocabulary: Vocabulary, spec: TaskSpec
    ):
        super().__init__(name="text_server")
        if spec.task != "classification":
            raise ValueError(
                f"The model's task is {spec.task!r}, which gives no answer to "
                "a text; train it for one with kbert-finetune."
            )
        self.labels = tuple(spec.labels)
        self.text_inputs = TEXT_INPUTS[spec.num_texts]
        self.vocabulary = vocabulary
        self._max_seq_length = spec.max_seq_length
        self._tokenizer = Tokenizer(vocabulary)
        self._model = model

    @tf.function
    def __call__(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        tokens = [self._tokenizer(text) for text in texts]
        inputs, _ = pack(
            *tokens, vocabulary=self.vocabulary, seq_length=self._max_seq_length
        )
        logits = self._model(inputs, training=False)[features.LOGITS]
        probabilities, best = classification.decode(logits)
        labels = tf.gather(tf.constant(self.labels), best)
        return {PROBABILITIES: probabilities, LABEL: labels}

    def signature(self) -> Any:
        """The graph for any batch size, its inputs named: serving_default."""
        return self.__call__.get_concrete_function(
            *(
                tf.TensorSpec((None,), tf.string, name=name)
                for name in self.text_inputs
            )
        )

    def predict(
        self,
        texts: Sequence[str | bytes],
        texts_b: Sequence[str | bytes] | None = None,
        batch_size: int = 32,
        progress: Callable[[int, int], Any] = lambda done, total: None,
    ) -> list[dict[str, Any]]:
        """Answers any number of texts, or of pairs with `texts_b`.

        Args:
            texts: the only or the first text of each example.
            texts_b: the second, for a model of pairs.
            batch_size: texts that go through the model at once.
            progress: called after each batch with how many texts are done
                and how many there are.
        Returns: for each, in order, {"label": the best class,
            "probabilities": {class: probability}}.
        Raises: ValueError if the model takes another number of texts, or if
            the two lists differ in length.
        """
        columns = [texts] if texts_b is None else [texts, texts_b]
        self._check_columns(columns)
        answer = self.signature()
        answers = []
        for batch in text_batches(columns, batch_size):
            got = answer(*batch)
            rows = got[PROBABILITIES].numpy().tolist()
            best = got[LABEL].numpy().tolist()
            for label, row in zip(best, rows, strict=True):
                answers.append(
                    {
                        LABEL: label.decode(),
                        PROBABILITIES: dict(zip(self.labels, row, strict=True)),
                    }
                )
            progress(len(answers), len(texts))
        return answers

    def _check_columns(self, columns):
        if len(columns) != len(self.text_inputs):
            raise ValueError(
                f"Got {len(columns)} lists of texts; this model takes "
                f"{len(self.text_inputs)}: {', '.join(self.text_inputs)}."
            )
        for column in columns:
            check_list(column)
        if len({len(column) for column in columns}) > 1:
            lengths = " and ".join(str(len(column)) for column in columns)
            raise ValueError(f"Got {lengths} texts; wanted as many of each.")


def check_list(texts: Sequence[str | bytes]) -> None:
    """Raises: ValueError for a single text, which is a sequence too."""
    if isinstance(texts, str | bytes):
        raise ValueError(f"Got the text {texts!r}; wanted a list.")


def text_batches(
    columns: Sequence[Sequence[str | bytes]], batch_size: int
) -> Iterator[list[tf.Tensor]]:
    """The texts of all columns, as tensors of so many at a time."""
    for start in range(0, len(columns[0]), batch_size):
        yield [
            tf.constant([encode(t) for t in c[start : start + batch_size]])
            for c in columns
        ]


def encode(text: str | bytes) -> bytes:
    """A lone surrogate becomes bytes that are not UTF-8, which is no error."""
    if isinstance(text, bytes):
        return text
    return text.encode("utf-8", "surrogatepass")
