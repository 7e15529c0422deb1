# SPDX-License-Identifier: Apache-2.0
"""The signature for clients that tokenize text themselves."""

from typing import Any

import keras
import tensorflow as tf

from kbert.tasks.predictor import checked
from kbert.text.packing import positions_of
from kbert.text.vocabulary import Vocabulary

LENGTHS = "lengths"  # the input's name


class TokenIds(tf.Module):
    """A signature on token ids: the outputs of a predictor without tokenizer.

    Call: token_ids, segment_ids (B, S) int32, lengths (B,) int32, the number
        of tokens in each row including [CLS] and [SEP]; with choices
        (B, C, S) and (B, C) -> the outputs of the server's `model_outputs`.
    Tokens beyond the lengths are ignored, as a server that merges batches may
    pad with any number; columns that are padding in all rows are removed. The
    positions of [MASK]s, or of the [CLS]s of sentences, are found by their
    ids. The graph fails for lengths that are not from 1 to S or exceed the
    model's maximum, for ids outside the vocabulary, and for segment ids that
    the model does not have.

    Args:
        server: a predictor, with `model_outputs`, vocabulary and spec.
        model: the model of the predictor.
    """

    def __init__(self, server: Any, model: keras.Model):
        super().__init__(name="token_ids")
        self._server = server
        self._vocabulary: Vocabulary = server.vocabulary
        embeddings: Any = model.get_layer("embeddings")
        self._max_length: int = embeddings.max_position_embeddings
        # With one segment vector both texts of a pair use it.
        self._num_segments: int = max(2, embeddings.type_vocab_size)
        self._inputs = [str(name) for name in model.input]
        self._shape = tuple(model.input["token_ids"].shape)

    @tf.function(autograph=False)
    def __call__(self, token_ids, segment_ids, lengths):
        token_ids, segment_ids, lengths = checked(
            self._input_specs(), (token_ids, segment_ids, lengths)
        )
        with tf.control_dependencies(
            [
                tf.debugging.assert_equal(
                    tf.shape(segment_ids, tf.int64),
                    tf.shape(token_ids, tf.int64),
                    "segment_ids and token_ids differ in shape.",
                ),
                tf.debugging.assert_positive(
                    lengths, "lengths has one below 1."
                ),
                tf.debugging.assert_less_equal(
                    lengths,
                    tf.minimum(tf.shape(token_ids)[-1], self._max_length),
                    "lengths has one beyond the tokens, or beyond the "
                    f"{self._max_length} that the model takes.",
                ),
            ]
        ):
            longest = tf.reduce_max(
                tf.concat([[1], tf.reshape(lengths, [-1])], 0)
            )
        in_row = tf.sequence_mask(lengths, longest)
        ids = tf.where(
            in_row, token_ids[..., :longest], self._vocabulary.pad_id
        )
        segments = tf.where(in_row, segment_ids[..., :longest], 0)
        with tf.control_dependencies(
            [
                *_check_below(ids, len(self._vocabulary), "token_ids"),
                *_check_below(segments, self._num_segments, "segment_ids"),
            ]
        ):
            inputs = {
                "token_ids": tf.identity(ids),
                "segment_ids": tf.identity(segments),
                "padding_mask": tf.cast(in_row, tf.int32),
            }
        return self._server.model_outputs(inputs | self._positions(inputs))

    def _positions(self, inputs):
        """Returns the positions of special tokens that the model needs."""
        marks = {
            "mask_positions": self._vocabulary.mask_id,
            "sentence_positions": self._vocabulary.cls_id,
        }
        return {
            name: positions_of(inputs, mark).to_tensor(0)
            for name, mark in marks.items()
            if name in self._inputs
        }

    def signature(self) -> Any:
        """Returns the graph for any batch, with named inputs."""
        return self.__call__.get_concrete_function(*self._input_specs())

    def _input_specs(self) -> list[tf.TensorSpec]:
        return [
            tf.TensorSpec(self._shape, tf.int32, "token_ids"),
            tf.TensorSpec(self._shape, tf.int32, "segment_ids"),
            tf.TensorSpec(self._shape[:-1], tf.int32, LENGTHS),
        ]


def _check_below(ids, limit: int, name: str):
    return [
        tf.debugging.assert_non_negative(ids, f"{name} has one below 0."),
        tf.debugging.assert_less(
            ids, limit, f"{name} has one that is not below {limit}."
        ),
    ]
