# SPDX-License-Identifier: Apache-2.0
"""Answers requests from a SavedModel, as TensorFlow Serving does.

    python replay.py EXPORT ANSWERS

answers the export's own warm-up requests and writes ANSWERS, a TFRecord of
PredictResponses. It needs tensorflow, tensorflow_text and the messages of the
server's API, and nothing of kbert or Keras: it runs in a process of its own,
to see that an export does without them.

tf.saved_model.load would not do: it makes the Python objects of an export
again, and finds variables that the server does not.
"""

import os
import pathlib
import sys

import tensorflow as tf
import tensorflow_text  # noqa: F401, for its ops
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

REQUESTS = "assets.extra/tf_serving_warmup_requests"

_INIT = "__saved_model_init_op"


class Served:
    """A loaded SavedModel: a graph in a session, as in the server.

    Its steps are those of tensorflow/cc/saved_model/loader.cc: the graph is
    imported, its restore op is run, then its init op.

    Args:
        export: folder of a version.
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

    def answer(
        self, request: predict_pb2.PredictRequest
    ) -> predict_pb2.PredictResponse:
        """What the server makes of a request.

        Raises: ValueError for inputs that the signature has not, or lacks;
            what the graph raises.
        """
        name = request.model_spec.signature_name or "serving_default"
        signature = self.signatures[name]
        if set(signature.inputs) != set(request.inputs):
            raise ValueError(
                f"{name} takes {sorted(signature.inputs)}; got "
                f"{sorted(request.inputs)}."
            )
        found = self._session.run(
            {key: x.name for key, x in signature.outputs.items()},
            {
                signature.inputs[key].name: tf.make_ndarray(value)
                for key, value in request.inputs.items()
            },
        )
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        for key, value in found.items():
            dtype = signature.outputs[key].dtype
            response.outputs[key].CopyFrom(
                tf.make_tensor_proto(value, dtype, value.shape)
            )
        return response


def requests_of(export: str | os.PathLike) -> list[predict_pb2.PredictRequest]:
    """An export's warm-up requests."""
    file = pathlib.Path(export) / REQUESTS
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(file))
    ]
    return [log.predict_log.request for log in logs]


def main(export: str, answers: str) -> None:
    """Reads the requests and writes the answers."""
    served = Served(export)
    with tf.io.TFRecordWriter(answers) as writer:
        for request in requests_of(export):
            writer.write(served.answer(request).SerializeToString())


if __name__ == "__main__":
    main(*sys.argv[1:])
