# SPDX-License-Identifier: Apache-2.0
"""Predictions of the pre-training outputs for texts.

The tokens for each [MASK], and whether one text follows another.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kbert import features
from kbert.tasks import TaskSpec
from kbert.tasks.masked_lm import head
from kbert.tasks.predictor import (
    SIGNATURE,
    BadText,
    Predictor,
    check_texts,
    checked,
    count_longer,
    encode,
    text_batches,
)
from kbert.text.packing import is_token, pack, positions_of
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import MASK, Vocabulary

FILL_MASK = "fill_mask"  # the signature that is the default one too
NEXT_SENTENCE = "next_sentence"  # the signature, where there are others
PROBABILITY = "probability"  # in the signature
TOP_K = 5  # tokens for each [MASK]
_TEXT = tf.TensorSpec((None,), tf.string, "text")


class MaskFiller(tf.Module):
    """Fills in texts: tokenizer, packing, model and decoding in one graph.

    Call: texts (B,) string, top_k -> {"masks": (B,) int32, how many [MASK]s
        each text has within the model's length; "tokens": (B, P, top_k)
        string and "probabilities": (B, P, top_k) float32, the best for each
        of them, where P is the most; "" and 0 where a text has no more}.
    A "[MASK]" in a text is the mask token, anything else that looks like a
    special token is words. Each [MASK] is predicted by itself.

    Attributes:
        text_inputs: names of the texts of an example: the one.
        several: which of them are several texts: none.
    """

    text_inputs = ("text",)
    several = ()

    def __init__(
        self, model: keras.Model, *, vocabulary: Vocabulary, spec: TaskSpec
    ):
        super().__init__(name="mask_filler")
        self.vocabulary = vocabulary
        self.spec = spec
        self._max_seq_length = spec.max_seq_length
        self._tokenizer = Tokenizer(vocabulary)
        self._model = model

    @tf.function(autograph=False)
    def __call__(
        self, texts: tf.Tensor, top_k: int = TOP_K
    ) -> dict[str, tf.Tensor]:
        (texts,) = checked([_TEXT], [texts])
        inputs, _ = pack(
            self._tokens(texts),
            vocabulary=self.vocabulary,
            seq_length=self._max_seq_length,
        )
        positions = positions_of(inputs, self.vocabulary.mask_id)
        inputs["mask_positions"] = positions.to_tensor(0)
        return self.model_outputs(inputs, top_k)

    def model_outputs(
        self, inputs: Mapping[str, tf.Tensor], top_k: int = TOP_K
    ) -> dict[str, tf.Tensor]:
        """The best tokens at the mask_positions, as the call gives them."""
        outputs: Any = self._model(inputs, training=False)
        masks_B = tf.reduce_sum(
            tf.cast(is_token(inputs, self.vocabulary.mask_id), tf.int32), axis=1
        )
        num_positions = tf.shape(inputs["mask_positions"])[1]
        found_BP1 = tf.sequence_mask(masks_B, num_positions)[:, :, tf.newaxis]
        probabilities, ids = head.decode(outputs[features.MLM_LOGITS], top_k)
        tokens = tf.gather(tf.constant(self.vocabulary.tokens), ids)
        return {
            "masks": masks_B,
            "tokens": tf.where(found_BP1, tokens, ""),
            "probabilities": tf.where(found_BP1, probabilities, 0.0),
        }

    def signature(self) -> Any:
        """The graph for any batch size and the usual number of tokens."""
        graph: Any = tf.function(lambda text: self(text), autograph=False)
        return graph.get_concrete_function(_TEXT)

    def signatures(self) -> dict[str, Any]:
        """All graphs that an export has, by name."""
        return dict.fromkeys((SIGNATURE, FILL_MASK), self.signature())

    def _tokens(self, texts) -> tf.RaggedTensor:
        """(B, None) int32: the tokens between the [MASK]s, and theirs."""
        parts = tf.strings.split(texts, MASK)
        tokens = self._tokenizer(parts.flat_values)
        mask = tf.fill((tokens.nrows(), 1), self.vocabulary.mask_id)
        closed = tf.concat([tokens, mask], axis=1)
        rows = parts.with_flat_values(closed).merge_dims(1, 2)
        return rows[:, :-1]  # the last part has no [MASK] behind it

    def num_truncated(self, texts: Sequence[str | bytes]) -> int:
        """How many of some texts have more tokens than the model reads."""
        room = self._max_seq_length - 2  # [CLS] and [SEP]
        return count_longer(([(text,)] for text in texts), room, self._tokens)

    def predict(
        self,
        texts: Sequence[str | bytes],
        *,
        top_k: int = TOP_K,
        batch_size: int = 32,
        progress: Callable[[int, int], Any] = lambda done, total: None,
    ) -> list[dict[str, Any]]:
        """Fills in any number of texts.

        Args:
            texts: each with one [MASK] or more.
            top_k: how many tokens to give for each.
            batch_size: texts that go through the model at once.
            progress: called after each batch with how many texts are done
                and how many there are.
        Returns: for each text {"masks": [{token: probability}, ...]}, in the
            order of its [MASK]s, the best token first; "##" marks the rest
            of a word.
        Raises: BadText for one that has no [MASK] or one beyond the longest
            row that the model takes; ValueError if the vocabulary is smaller
            than top_k.
        """
        check_texts(texts, _TEXT.name)
        if not 1 <= top_k <= len(self.vocabulary):
            raise ValueError(
                f"top_k is {top_k}; needs 1 to {len(self.vocabulary)}, the "
                "size of the vocabulary."
            )
        counts = [encode(text).count(MASK.encode()) for text in texts]
        if 0 in counts:
            raise BadText(counts.index(0), f"no {MASK}.")
        predict = self.__call__.get_concrete_function(
            tf.TensorSpec((None,), tf.string), top_k
        )
        rows = []
        for (batch,) in text_batches([texts], batch_size):
            got = {
                name: x.numpy().tolist() for name, x in predict(batch).items()
            }
            for found, *best in zip(
                got["masks"], got["tokens"], got["probabilities"], strict=True
            ):
                if found < counts[len(rows)]:
                    raise BadText(
                        len(rows),
                        f"{MASK} number {found + 1} is behind the "
                        f"{self._max_seq_length} tokens that the model takes.",
                    )
                masks = [
                    {token.decode(): p for token, p in zip(*row, strict=True)}
                    for row in zip(*best, strict=True)
                ]
                rows.append({"masks": masks[:found]})
            progress(len(rows), len(texts))
        return rows


class NextSentencePredictor(Predictor):
    """Says how probably the second text of a pair follows the first.

    Call: text_a, text_b (B,) string -> {"probability": (B,) float32}. Texts
        that are too long are truncated.
    `predict` gives for each row {"probability": number}.
    """

    text_inputs = ("text_a", "text_b")

    def _outputs(self, *inputs):
        packed, _ = pack(
            *(self._tokenizer(text) for text in inputs),
            vocabulary=self.vocabulary,
            seq_length=self.spec.max_seq_length,
        )
        if "mask_positions" in self._model.input:
            packed["mask_positions"] = packed["token_ids"][:, :0]
        outputs = self._model(packed, training=False)
        # Index 0 is the next one, 1 a random one.
        is_next = tf.nn.softmax(outputs[features.NSP_LOGITS])[:, 0]
        return {PROBABILITY: is_next}

    def _rows(self, outputs, columns):
        return [{PROBABILITY: x} for x in outputs[PROBABILITY].tolist()]
