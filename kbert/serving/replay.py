# SPDX-License-Identifier: Apache-2.0
"""Answers requests from a SavedModel, as TensorFlow Serving does.

    python replay.py EXPORT ANSWERS

answers the warm-up requests of the export and writes ANSWERS, a TFRecord of
PredictResponses. It also sends a malformed request to each signature, which
must fail without ending the process. It needs tensorflow, tensorflow_text and
the messages of the server's API, and nothing of kbert or Keras: it runs in a
separate process to check that an export does not need them.

tf.saved_model.load would not show this: it restores the Python objects of an
export, and finds variables that the server does not.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401, for its ops
from tensorflow.core.protobuf import config_pb2, saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

REQUESTS = "assets.extra/tf_serving_warmup_requests"

_INIT = "__saved_model_init_op"


class Served:
    """A loaded SavedModel: a graph in a session, as in the server.

    It is loaded as in tensorflow/cc/saved_model/loader.cc: import the graph,
    run its restore op, then its init op.

    Args:
        export: the folder of a version.
    """

    def __init__(self, export: str | os.PathLike):
        folder = pathlib.Path(export)
        content = (folder / "saved_model.pb").read_bytes()
        model = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
        self.signatures = dict(model.signature_def)
        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(model.graph_def, name="")
        self._session = tf.compat.v1.Session(graph=graph)
        assets = {
            asset.tensor_info.name: str(folder / "assets" / asset.filename)
            for asset in model.asset_file_def
        }
        saver = model.saver_def
        weights = {
            saver.filename_tensor_name: str(folder / "variables/variables")
        }
        self._session.run(saver.restore_op_name, {**assets, **weights})
        if init := self.signatures.pop(_INIT, None):
            self._session.run(init.outputs[_INIT].name, assets)
        self._run = {
            name: self._callable(signature)
            for name, signature in self.signatures.items()
        }

    def _callable(self, signature) -> Any:
        """Returns a function that runs a signature.

        It omits the checks of Session.run, which refuses shapes that differ
        from the placeholders'; the server does not.
        """
        options = config_pb2.CallableOptions()
        options.feed.extend(x.name for _, x in _sorted(signature.inputs))
        options.fetch.extend(x.name for _, x in _sorted(signature.outputs))
        return self._session._make_callable_from_options(options)

    def answer(
        self, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        """Answers a request as the server does.

        Raises: ValueError for unknown or missing inputs; errors of the graph.
        """
        name = request.model_spec.signature_name or "serving_default"
        signature = self.signatures[name]
        if set(signature.inputs) != set(request.inputs):
            raise ValueError(
                f"{name} takes {sorted(signature.inputs)}; got "
                f"{sorted(request.inputs)}."
            )
        found = self._run[name](
            *(tf.make_ndarray(x) for _, x in _sorted(request.inputs))
        )
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        for (key, output), value in zip(
            _sorted(signature.outputs), found, strict=True
        ):
            response.outputs[key].CopyFrom(
                tf.make_tensor_proto(value, output.dtype, value.shape)
            )
        return response


def _sorted(named) -> list[tuple[str, Any]]:
    """Returns the entries of a message's map, which is unordered, sorted."""
    return sorted(named.items())


def requests_of(export: str | os.PathLike) -> list[predict_pb2.PredictRequest]:
    """Reads the warm-up requests of an export."""
    file = pathlib.Path(export) / REQUESTS
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(file))
    ]
    return [log.predict_log.request for log in logs]


def answers_of(
    export: str | os.PathLike,
) -> Iterator[predict_pb2.PredictResponse]:
    """Yields the answers to the warm-up requests of an export.

    Raises: ValueError if it answers a malformed request, or if its error does
        not name the input; errors of the graph.
    """
    served, requests = Served(export), requests_of(export)
    for request in requests:
        yield served.answer(request)
    first = {x.model_spec.signature_name: x for x in reversed(requests)}
    for request in first.values():
        for name, bad in malformed(request):
            check_refused(served, name, bad)


def answers_of_new_process(
    export: str | os.PathLike,
) -> list[predict_pb2.PredictResponse]:
    """Returns the same from a new process, which only has TensorFlow.

    Raises: ValueError if the process fails.
    """
    with tempfile.TemporaryDirectory() as temporary:
        answers = pathlib.Path(temporary) / "answers"
        # -I: imports nothing from this folder or the user's environment.
        done = subprocess.run(
            [sys.executable, "-I", __file__, export, answers],
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            if done.returncode < 0:
                last = [f"ended by {signal.Signals(-done.returncode).name}"]
            raise ValueError(
                f"{export}: does not answer in a new process: {''.join(last)}"
            )
        return [
            predict_pb2.PredictResponse.FromString(record.numpy())
            for record in tf.data.TFRecordDataset(str(answers))
        ]


def malformed(
    request: predict_pb2.PredictRequest,
) -> Iterator[tuple[str, predict_pb2.PredictRequest]]:
    """Yields requests with one malformed input, and its name."""
    for name, tensor in _sorted(request.inputs):
        array = tf.make_ndarray(tensor)
        values = [array.ravel()[:1].reshape(()), array[np.newaxis]]
        if len(request.inputs) > 1:
            values.append(np.concatenate([array, array[:1]]))
        if array.dtype == np.int32:
            values += [np.full_like(array, x) for x in (-1, 2**31 - 1)]
        for value in values:
            bad = predict_pb2.PredictRequest()
            bad.CopyFrom(request)
            bad.inputs[name].CopyFrom(tf.make_tensor_proto(value, tensor.dtype))
            yield name, bad


def check_refused(
    served: Served, name: str, request: predict_pb2.PredictRequest
) -> None:
    """Checks that a request fails with an error that names an input.

    Raises: ValueError if it does not.
    """
    described = (
        f"{request.model_spec.signature_name}: a malformed {name} of shape "
        f"{tf.make_ndarray(request.inputs[name]).shape}"
    )
    try:
        served.answer(request)
    except tf.errors.InvalidArgumentError as error:
        if name not in error.message:
            line = error.message.partition("\n")[0]
            raise ValueError(f"{described} is not named: {line}") from None
    else:
        raise ValueError(f"{described} is answered.")


def main(export: str, answers: str) -> None:
    """Reads the requests and writes the answers."""
    with tf.io.TFRecordWriter(answers) as writer:
        for answer in answers_of(export):
            writer.write(answer.SerializeToString())


if __name__ == "__main__":
    main(*sys.argv[1:])
