# SPDX-License-Identifier: Apache-2.0
"""The numbers that pairs are answered with, by a model made by hand."""

import keras
from keras import ops

from kbert import features
from kbert.tasks import TaskSpec
from kbert.tasks.regression.predictor import RegressionPredictor


def test_each_pair_has_its_number(vocabulary):
    """Its tokens' ids, and a quarter for each of the second text's."""
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    ids, segments = (
        ops.sum(inputs[name] * inputs["padding_mask"], axis=1)
        for name in ("token_ids", "segment_ids")
    )
    value = ops.cast(ids, "float32") + segments / 4
    server = RegressionPredictor(
        keras.Model(inputs, {"value": value}),
        vocabulary=vocabulary,
        spec=TaskSpec(task="regression", max_seq_length=7, num_texts=2),
    )
    pairs = [("the film", "bad"), ("", "not very long bad film")]
    tokens = [
        ["[CLS]", "the", "film", "[SEP]", "bad", "[SEP]"],
        ["[CLS]", "[SEP]", "not", "very", "long", "bad", "[SEP]"],  # cut
    ]
    want = [
        {"value": sum(map(vocabulary.tokens.index, row)) + count / 4}
        for row, count in zip(tokens, (2, 5), strict=True)
    ]
    assert server.predict(*zip(*pairs, strict=True)) == want
