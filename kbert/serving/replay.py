# SPDX-License-Identifier: Apache-2.0
"""Answers a SavedModel's own warm-up requests, as TensorFlow Serving does.

    python replay.py EXPORT ANSWERS

It needs tensorflow, tensorflow_text and the messages of the server's API, and
nothing of kbert or Keras: it runs in a process of its own, to see that an
export does without them. ANSWERS is a TFRecord of PredictResponses.
"""

import pathlib
import sys

import tensorflow as tf
import tensorflow_text  # noqa: F401, for its ops
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

REQUESTS = "assets.extra/tf_serving_warmup_requests"


def answer(
    loaded, request: predict_pb2.PredictRequest
) -> predict_pb2.PredictResponse:
    """What the server makes of a PredictRequest.

    Raises: ValueError for inputs that the signature has not, or lacks; what
        the graph raises.
    """
    name = request.model_spec.signature_name or "serving_default"
    signature = loaded.signatures[name]
    wanted = set(signature.structured_input_signature[1])
    if wanted != set(request.inputs):
        raise ValueError(
            f"{name} takes {sorted(wanted)}; got {sorted(request.inputs)}."
        )
    inputs = {
        key: tf.constant(tf.make_ndarray(value))
        for key, value in request.inputs.items()
    }
    response = predict_pb2.PredictResponse()
    response.model_spec.CopyFrom(request.model_spec)
    for key, value in signature(**inputs).items():
        response.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
    return response


def main(export: str, answers: str) -> None:
    """Reads the requests and writes the answers."""
    loaded = tf.saved_model.load(export)
    file = pathlib.Path(export) / REQUESTS
    with tf.io.TFRecordWriter(answers) as writer:
        for record in tf.data.TFRecordDataset(str(file)):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            found = answer(loaded, log.predict_log.request)
            writer.write(found.SerializeToString())


if __name__ == "__main__":
    main(*sys.argv[1:])
