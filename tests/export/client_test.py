# SPDX-License-Identifier: Apache-2.0
"""export/client.py asks a server by REST and by gRPC."""

import concurrent.futures
import http.server
import importlib.util
import json
import pathlib
import threading

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kbert.serving import replay, request_samples

EXPECTED = [
    {"label": "a!", "lengths": [1, 2]},
    {"label": "schön!", "lengths": [6, 2]},
]


class _Model(tf.Module):
    """Takes a text and words, and gives a string and numbers."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "text"),
            tf.TensorSpec([None, None], tf.string, "words"),
            tf.TensorSpec([None], tf.int32, "num_words"),
        ]
    )
    def answer(self, text, words, num_words):
        lengths = [tf.strings.length(text), num_words + tf.shape(words)[1] - 2]
        return {"label": text + "!", "lengths": tf.stack(lengths, 1)}


@pytest.fixture
def loaded(tmp_path):
    model = _Model()
    tf.saved_model.save(model, tmp_path, {"tag": model.answer})
    return replay.Served(tmp_path)


ROWS = [
    {"text": "a", "words": ["b", "c"], "num_words": 2},
    {"text": "schön", "words": ["d", ""], "num_words": 2},
]


@pytest.fixture
def client():
    """The script as a module."""
    file = pathlib.Path(__file__).parents[2] / "export" / "client.py"
    spec = importlib.util.spec_from_file_location("client", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def serve_rest():
    """Starts a web server and gives its address.

    Its argument, answer(path, body), gives the status and what to send.
    """
    servers = []

    def serve(answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(length))
                status, reply = answer(self.path, body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(reply).encode())

            def log_message(self, *_):
                pass

        servers.append(http.server.HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for started in servers:
        started.shutdown()
        started.server_close()


@pytest.fixture
def grpc_address(loaded):
    """Of a server that answers as TensorFlow Serving does."""

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            if request.model_spec.name != "kbert":
                context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
            return loaded.answer(request)

    pool = concurrent.futures.ThreadPoolExecutor(1)
    server = grpc.server(pool)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Service(), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def _printed(capsys):
    return [json.loads(x) for x in capsys.readouterr().out.splitlines()]


def test_by_rest(client, serve_rest, loaded, capsys):
    paths = []

    def answer(path, body):
        paths.append(path)
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = body["signature_name"]
        for name in ROWS[0]:
            values = [row[name] for row in body["instances"]]
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        found = loaded.answer(request)
        return 200, request_samples.rest_answer(found)

    url = serve_rest(answer) + "/v1/models/kbert"
    flags = [f"--row={json.dumps(row)}" for row in ROWS]
    assert client.main([f"--url={url}", "--signature=tag", *flags]) is None
    assert paths == ["/v1/models/kbert:predict"]
    assert _printed(capsys) == EXPECTED


def test_by_grpc(client, grpc_address, capsys):
    flags = [f"--row={json.dumps(row)}" for row in ROWS]
    flags += [f"--grpc={grpc_address}", "--signature=tag"]
    assert client.main(flags) is None
    assert _printed(capsys) == EXPECTED
    said = client.main([*flags, "--url=http://x/v1/models/other"])
    assert said == f"{grpc_address}: NOT_FOUND: no such model"


def test_texts_and_pairs_and_errors(client, serve_rest):
    bodies = []

    def answer(path, body):
        bodies.append(body)
        return 400, {"error": "no such signature"}

    url = serve_rest(answer) + "/v1/models/kbert"
    said = client.main([f"--url={url}", "--text=a", "--text=c"])
    assert said.startswith(f"{url}: 400 Bad Request: ")
    assert "no such signature" in said
    client.main([f"--url={url}", "--text=a", "--text_b=b"])
    assert bodies == [
        {
            "signature_name": "serving_default",
            "instances": [{"text": "a"}, {"text": "c"}],
        },
        {
            "signature_name": "serving_default",
            "instances": [{"text_a": "a", "text_b": "b"}],
        },
    ]
    for nowhere in ("http://127.0.0.1:1/m", "http://127.0.0.1:x/m"):
        said = client.main([f"--url={nowhere}", "--text=a"])
        assert said.startswith(f"{nowhere}: ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "needs --text or --row"),
        (["--text=a", "--text=c", "--text_b=b"], "--text_b: needs as many"),
        (["--row=[1]"], "--row: '[1]'; needs a JSON object"),
        (["--row={"], "--row: '{'; needs a JSON object"),
        (['--row={"a": 1}', "--text=b"], "--row: the rows have"),
    ],
)
def test_wrong_flags(client, flags, message, capsys):
    with pytest.raises(SystemExit):
        client.main(flags)
    assert message in capsys.readouterr().err
