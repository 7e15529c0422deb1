# SPDX-License-Identifier: Apache-2.0
"""An export answers as the model does, where nothing else is left."""

import http.server
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert import tasks
from kbert.checkpoints import folder
from kbert.serving.export import export
from kbert.tasks import TaskSpec

LABELS = ("bad", "so-so", "schön")
TEXTS = ["good", "The film was not very good.", "", "bad bad film " * 9]
TEXTS_B = ["", "bad", "Film: good?", "the"]

# Runs where kbert is not to be found, and prints what exports answer.
ASK = """
import json
import sys
import tensorflow as tf
import tensorflow_text  # for its ops; it imports Keras

assert "kbert" not in sys.modules
for name in ["kbert", *sys.modules]:
    if name.partition(".")[0] in ("kbert", "keras"):
        sys.modules[name] = None  # importing it is an error from here on

def ask(path, texts):
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["serving_default"]
    answer = signature(**{n: tf.constant(t) for n, t in texts.items()})
    called = loaded(*(tf.constant(t) for t in texts.values()))
    none = signature(**{name: tf.constant([], tf.string) for name in texts})
    bad = loaded(*(tf.constant([b"\\xff", b"a\\xc3("]) for _ in texts))
    return {
        "probabilities": answer["probabilities"].numpy().tolist(),
        "called": called["probabilities"].numpy().tolist(),
        "label": [label.decode() for label in answer["label"].numpy()],
        "shapes_of_none": [list(t.shape) for t in none.values()],
        "shapes_of_bad": [list(t.shape) for t in bad.values()],
    }

print(json.dumps([ask(**request) for request in json.load(sys.stdin)]))
"""


def _saved_model(path, config, vocabulary, num_texts=1):
    """Saves a model whose weights tell texts apart, and returns its server."""
    spec = TaskSpec(
        task="classification",
        max_seq_length=12,
        labels=LABELS,
        num_texts=num_texts,
    )
    model = tasks.build(config, spec)
    rng = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    folder.save(path, model, config=config, vocabulary=vocabulary, spec=spec)
    return kbert.load(path)


def _ask(requests, cwd):
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_needs_nothing_outside_itself(tmp_path, tiny_config, vocabulary):
    requests, answers = [], []
    for num_texts in (1, 2):
        model, base = tmp_path / "model", tmp_path / "base"
        server = _saved_model(model, tiny_config, vocabulary, num_texts)
        columns = [TEXTS, TEXTS_B][:num_texts]
        answers.append(server.predict(*columns))
        elsewhere = tmp_path / f"elsewhere_{num_texts}"
        shutil.move(export(server, base), elsewhere)
        shutil.rmtree(model)
        shutil.rmtree(base)
        texts = dict(zip(server.text_inputs, columns, strict=True))
        requests.append({"path": str(elsewhere), "texts": texts})

    for got, want in zip(_ask(requests, tmp_path), answers, strict=True):
        wanted = [list(row["probabilities"].values()) for row in want]
        assert np.ptp(wanted, axis=0).max() > 0.05  # the texts do differ
        np.testing.assert_allclose(got["probabilities"], wanted, atol=1e-5)
        np.testing.assert_allclose(got["called"], wanted, atol=1e-5)
        assert got["label"] == [row["label"] for row in want]
        assert sorted(got["shapes_of_none"]) == [[0], [0, 3]]
        assert sorted(got["shapes_of_bad"]) == [[2], [2, 3]]


_EXPORTED = {}


@pytest.fixture
def exported(tmp_path_factory, tiny_config, vocabulary):
    """A server and the folder of its export, made once for this file."""
    if not _EXPORTED:
        folder = tmp_path_factory.mktemp("exported")
        server = _saved_model(folder / "model", tiny_config, vocabulary)
        path = export(server, folder / "base")
        _EXPORTED.update(folder=folder, server=server, path=path)
    return _EXPORTED["server"], _EXPORTED["path"]


def test_what_lies_in_the_folder(exported, tmp_path, vocabulary):
    _, path = exported
    assets = path / "assets"
    assert {file.name for file in assets.iterdir()} == {
        *("vocab.txt", "vocab.json", "labels.json")
    }
    assert kbert.Vocabulary.load(assets / "vocab.txt") == vocabulary
    assert json.loads((assets / "labels.json").read_text("utf-8")) == [*LABELS]
    graph = (path / "saved_model.pb").read_bytes()
    assert str(_EXPORTED["folder"]).encode() not in graph
    assert b"_XlaMustCompile" not in graph  # the server has no XLA by default
    # Like a folder made by mkdir: another user, the server, may read it.
    (tmp_path / "plain").mkdir()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_versions(exported, tmp_path, monkeypatch):
    server, _ = exported
    monkeypatch.setattr(tf.saved_model, "save", lambda _, p, **__: p.mkdir())
    base = tmp_path / "new" / "base"
    assert export(server, base) == base / "1"
    (base / "notes").mkdir()
    assert export(server, str(base), 7) == base / "7"
    assert export(server, base) == base / "8"
    message = "base: version 7 is there already; the next free one is 9"
    with pytest.raises(ValueError, match=message):
        export(server, base, 7)
    with pytest.raises(ValueError, match="Version 0; wanted 1 or more"):
        export(server, base, 0)
    names = sorted(entry.name for entry in base.iterdir())
    assert names == ["1", "7", "8", "notes"]


def test_a_server_never_sees_a_half_written_version(
    exported, tmp_path, monkeypatch
):
    """TensorFlow Serving takes every folder whose name is a number."""
    seen = []

    def save(_, path, **__):
        os.makedirs(path)
        seen.extend(entry.name for entry in tmp_path.iterdir())
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(OSError, match="disk full"):
        export(exported[0], tmp_path)
    assert seen and not [name for name in seen if name.isdecimal()]
    assert not list(tmp_path.iterdir())


@pytest.fixture
def client():
    """export/client.py, which is a script, as a module."""
    file = pathlib.Path(__file__).parents[2] / "export" / "client.py"
    spec = importlib.util.spec_from_file_location("client", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def serve():
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


def _row_format(loaded, body):
    """Answers as TensorFlow Serving's REST interface does."""
    signature = loaded.signatures[body["signature_name"]]
    rows = body["instances"]
    answer = signature(
        **{n: tf.constant([row[n] for row in rows]) for n in rows[0]}
    )
    columns = {n: t.numpy().tolist() for n, t in answer.items()}
    columns["label"] = [label.decode() for label in columns["label"]]
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def test_the_client_prints_the_exports_answers(exported, client, serve, capsys):
    server, path = exported
    loaded = tf.saved_model.load(path)
    requests = []

    def answer(path, body):
        requests.append((path, body))
        return 200, {"predictions": _row_format(loaded, body)}

    url = serve(answer) + "/v1/models/kbert"
    flags = [f"--text={text}" for text in TEXTS[:2]]
    assert client.main([f"--url={url}", *flags]) is None
    assert requests == [
        (
            "/v1/models/kbert:predict",
            {
                "signature_name": "serving_default",
                "instances": [{"text": text} for text in TEXTS[:2]],
            },
        )
    ]
    want = [
        f"{max(row['probabilities'].values()):.4f}  {row['label']}"
        for row in server.predict(TEXTS[:2])
    ]
    assert capsys.readouterr().out.splitlines() == want


def test_the_client_sends_pairs_and_tells_errors(client, serve):
    requests = []

    def answer(path, body):
        requests.append(body)
        return 400, {"error": "no such signature"}

    url = serve(answer) + "/v1/models/kbert"
    flags = ["--text=a", "--text_b=b", "--text=c", "--text_b=d"]
    said = client.main([f"--url={url}", *flags])
    rows = [{"text_a": "a", "text_b": "b"}, {"text_a": "c", "text_b": "d"}]
    assert requests[0]["instances"] == rows
    assert said.startswith(f"{url}: 400 Bad Request: ")
    assert "no such signature" in said
    nobody = client.main(["--url=http://127.0.0.1:1/m", "--text=a"])
    assert nobody.startswith("http://127.0.0.1:1/m: ")
    nonsense = client.main(["--url=http://127.0.0.1:x/m", "--text=a"])
    assert nonsense.startswith("http://127.0.0.1:x/m: ")
    with pytest.raises(SystemExit):
        client.main(["--text=a", "--text=c", "--text_b=b"])
