# SPDX-License-Identifier: Apache-2.0
"""README.md of an export: whole requests, and answers that say what is cut."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from kbert.serving import request_samples


def _pair(inputs, outputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "serving_default"
    response = predict_pb2.PredictResponse()
    for message, values in (
        (request.inputs, inputs),
        (response.outputs, outputs),
    ):
        for name, value in values.items():
            message[name].CopyFrom(tf.make_tensor_proto(value))
    return request, response


def test_long_lists_of_requests_are_whole_and_of_answers_are_counted():
    ids = np.arange(30, dtype="int32")[np.newaxis]
    vector = np.linspace(0, 1, 1200, dtype="float32")[np.newaxis]
    pair = _pair({"token_ids": ids}, {"embedding": vector, "a": [1]})
    text = request_samples.markdown([pair])
    assert json.dumps({"token_ids": [*range(30)]}) in text
    assert '"embedding": [0.0, 0.0008, 0.0017, "... 1,197 more"]' in text


@pytest.mark.parametrize("count", [2, 50, 51, 1200])
def test_classes_stand_next_to_their_numbers(count):
    labels = [f"<{number}>" for number in range(count)]
    numbers = np.linspace(1, 2, count, dtype="float32")[np.newaxis]
    pair = _pair({"text": ["a"]}, {"probabilities": numbers, "a": [1]})
    text = request_samples.markdown([pair], labels)
    rows = [x.split("|") for x in text.splitlines() if x.startswith("| &lt;")]
    assert [(a.strip(), float(b)) for _, a, b, _ in rows] == [
        (f"&lt;{i}&gt;", pytest.approx(numbers[0, i], abs=1e-4))
        for i in range(min(count, 50))
    ]
    left_out = f"{count - 50:,} more are left out." if count > 50 else ""
    assert ("left out" in text) == bool(left_out) and left_out in text


def test_choices_and_answers_stand_next_to_theirs():
    choices = {"choices": [["on|e", "two"]], "text": ["a"]}
    numbers = {"probabilities": [[0.25, 0.75]], "choice": [1]}
    text = request_samples.markdown([_pair(choices, numbers)])
    assert "| on\\|e  |        0.2500 |" in text
    answers = {"answers": [["me", "you", ""]], "count": [2]}
    answers["probabilities"] = [[0.6, 0.4, 0.0]]
    text = request_samples.markdown([_pair({"question": ["a"]}, answers)])
    assert "| you    |        0.4000 |\n\n" in text


def test_a_text_cannot_end_its_block():
    text = "```\n# <b> |\n````"
    shown = request_samples.markdown(
        [_pair({"text": [text]}, {"value": [0.5]})]
    )
    body = json.dumps([{"text": text}])
    assert f'"instances": {body}}}\n`````\n' in shown
