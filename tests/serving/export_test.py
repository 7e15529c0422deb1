# SPDX-License-Identifier: Apache-2.0
"""An export answers as the model does, where nothing else is left."""

import functools
import itertools
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
from concurrent import futures

import grpc
import keras
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_service_pb2_grpc,
)

import kbert
from kbert.checkpoints import folder
from kbert.serving import export as exporting
from kbert.serving import portability, replay, request_samples
from kbert.serving.export import export
from kbert.serving.signatures import Signatures
from kbert.tasks import TaskSpec
from tests.serving.conftest import LENGTH, SPECS
from tests.serving.signature_requests import assert_same

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def write(signatures, monkeypatch):
    """A function of a name of `SPECS` and a folder: exports that task.

    The warm-up requests are answered in this process, which is quicker.
    """

    def write(task, base, **options):
        monkeypatch.setattr(
            replay, "answers_of_new_process", _answers_of_this_process
        )
        return export(signatures(task), base, **options)

    return write


@pytest.fixture(scope="session")
def exported(signatures, tmp_path_factory):
    """A function of a name of `SPECS`: its export, made once for all tests."""

    @functools.cache
    def exported(task):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                replay, "answers_of_new_process", _answers_of_this_process
            )
            return export(signatures(task), tmp_path_factory.mktemp(task))

    return exported


def _answers_of_this_process(folder):
    return list(replay.answers_of(folder))


@pytest.fixture
def oldest(request):
    """The Python that has the versions of the oldest server."""
    python = request.config.getoption("--oldest_server")
    return python or pytest.skip("needs --oldest_server")


# The others take as long and show little more.
_QUICK = ("tagging",)
_LOOPS = ("tagging", "summarization", "pretraining", "multiple_choice")


@pytest.mark.parametrize(
    "task",
    [
        task if task in _QUICK else pytest.param(task, marks=pytest.mark.slow)
        for task in SPECS
    ],
)
def test_every_task_answers_as_a_server_does(task, exported):
    """By the messages of TensorFlow Serving, and by its JSON of rows."""
    found = exported(task)
    served = replay.Served(found.path)
    warm = replay.requests_of(found.path)
    names = {one.model_spec.signature_name for one in warm}
    assert names == set(found.signatures) == set(served.signatures)
    assert len(warm) == 3 * len(names)
    for one in warm:
        body = request_samples.rest_request(one)
        again = predict_pb2.PredictRequest()
        again.CopyFrom(one)
        again.ClearField("inputs")
        for name in one.inputs:  # as the server reads its JSON
            values = [row[name] for row in body["instances"]]
            dtype = one.inputs[name].dtype
            again.inputs[name].CopyFrom(tf.make_tensor_proto(values, dtype))
        assert again == one
        response = served.answer(one)
        rows = request_samples.rest_answer(response)["predictions"]
        assert len(rows) == len(body["instances"])
        json.dumps(rows, allow_nan=False)
    text = (found.path / "README.md").read_text("utf-8")
    printed = list(_printed(text))
    sent = [_as_message(served, body) for body, _ in printed]
    assert {one.model_spec.signature_name for one in sent} == names
    for one, (_, answer) in zip(sent, printed, strict=True):
        response = served.answer(one)
        _assert_shown(answer, request_samples.rest_answer(response))
    assert _sent_by_grpc(text, served) == sent[:1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "aggregation"),
    [
        (("DT", "NN", "VBD"), "first"),
        (("DT", "NN"), "simple"),
        (("O", "B-x", "I-x"), "simple"),
        (("O", "B-x", "S-x"), "joined"),
    ],
)
def test_a_tagger_of_each_kind_answers_as_its_folder(
    labels, aggregation, tiny_config, vocabulary, build, tmp_path, monkeypatch
):
    """Its export has been sent malformed requests too."""
    refused = []
    check = replay.check_refused

    def checked(*args):
        refused.append(args)
        return check(*args)

    monkeypatch.setattr(replay, "check_refused", checked)
    monkeypatch.setattr(
        replay, "answers_of_new_process", _answers_of_this_process
    )
    spec = TaskSpec(
        task="tagging",
        max_seq_length=LENGTH,
        labels=labels,
        settings={"stride": 5, "aggregation": aggregation},
    )
    model, parts = build(spec), {"vocabulary": vocabulary, "spec": spec}
    folder.save(tmp_path / "model", model, config=tiny_config, **parts)
    found = export(Signatures(model, **parts), tmp_path / "out")
    assert refused
    texts = ["The film was longer.", "not very longer good", "", "bad"]
    words = [text.split() for text in texts[:2]]
    answers = kbert.load(tmp_path / "model").predict([*texts, *words])
    graphs = tf.saved_model.load(str(found.path)).signatures
    got = graphs["serving_default"](text=tf.constant(texts))
    _assert_entities(got, answers[:4], ["starts", "ends"])
    got = graphs["words"](
        words=tf.constant(words), num_words=tf.constant([4, 4])
    )
    _assert_entities(got, answers[4:], [])
    tags = [[x.decode() for x in row] for row in got["tags"].numpy()]
    assert tags == [answer["tags"] for answer in answers[4:]]


def _assert_entities(got, answers, positions):
    for row, answer in enumerate(answers):
        want = answer["entities"]
        count = int(got["entities"][row])
        types = [x.decode() for x in got["types"][row, :count].numpy()]
        assert types == [entity["type"] for entity in want]
        scores = [entity["score"] for entity in want]
        assert got["scores"][row, :count].numpy() == pytest.approx(
            scores, abs=1e-5
        )
        for name in positions:
            numbers = got[name][row, :count].numpy().tolist()
            assert numbers == [entity[name[:-1]] for entity in want]
    assert any(answer["entities"] for answer in answers)


def _blocks(text):
    """The code of a README."""
    found = re.findall(r"^(```+)\w*\n(.*?)\n\1$", text, re.M | re.S)
    return [code for _, code in found]


def _printed(text):
    """Each request of a README by REST, and the answer below it."""
    for request, answer in itertools.pairwise(_blocks(text)):
        head, _, body = request.partition("\n")
        if head.startswith("POST http://"):
            yield json.loads(body), json.loads(answer)


def _as_message(served, body):
    """What the server makes of its JSON of rows."""
    made = predict_pb2.PredictRequest()
    made.model_spec.name = "kbert"
    made.model_spec.signature_name = body["signature_name"]
    inputs = served.signatures[body["signature_name"]].inputs
    rows = body["instances"]
    assert all(set(row) == set(inputs) for row in rows)
    for name, spec in inputs.items():
        values = [row[name] for row in rows]
        made.inputs[name].CopyFrom(tf.make_tensor_proto(values, spec.dtype))
    return made


def _sent_by_grpc(text, served):
    """The requests that the README's Python sends, which are answered."""
    received = []

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            received.append(request)
            return served.answer(request)

    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Service(), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        (code,) = (x for x in _blocks(text) if x.startswith("import grpc"))
        exec(code.replace("HOST:8500", f"127.0.0.1:{port}"), {})
    finally:
        server.stop(None).wait()
    return received


def _assert_shown(shown, real):
    """Printed is what was answered, or says how much of it is left out."""
    if isinstance(real, dict):
        assert set(shown) == set(real)
        for name, value in real.items():
            _assert_shown(shown[name], value)
    elif isinstance(real, list):
        more = re.fullmatch(r"\.\.\. ([\d,]+) more", str((shown or [0])[-1]))
        if more:
            shown = shown[:-1]
            assert len(shown) + int(more[1].replace(",", "")) == len(real)
        else:
            assert len(shown) == len(real)
        for some, value in zip(shown, real, strict=False):
            _assert_shown(some, value)
    elif isinstance(real, float):
        assert shown == pytest.approx(real, abs=1e-4)
    else:
        assert shown == real


@pytest.mark.slow
@pytest.mark.parametrize("task", SPECS)
def test_the_oldest_server_answers_the_same(task, exported, tmp_path, oldest):
    """With TensorFlow 2.12.0 and tensorflow-text 2.12.1, by the same steps."""
    found = exported(task)
    file = tmp_path / "answers"
    subprocess.run(
        [oldest, "-I", replay.__file__, found.path, file], check=True
    )
    served = replay.Served(found.path)
    records = tf.data.TFRecordDataset(str(file))
    asked = replay.requests_of(found.path)
    for one, record in zip(asked, records, strict=True):
        got = predict_pb2.PredictResponse.FromString(record.numpy())
        want = served.answer(one)
        assert_same(_arrays(got), _arrays(want))


def _arrays(response):
    return {k: tf.make_ndarray(v) for k, v in response.outputs.items()}


@pytest.mark.slow
@pytest.mark.parametrize("server", ["newest", "oldest"])
@pytest.mark.parametrize(
    ("task", "rows"),
    [("tagging", 200_000), *((task, 10_000) for task in SPECS)],
)
def test_under_stress(task, rows, server, exported, request):
    """Rows of a signature, malformed ones between, and a text of 1 MB.

    The long run would see that memory grows slowly.
    """
    python = sys.executable
    if server == "oldest":
        python = request.getfixturevalue("oldest")
    found = exported(task)
    command = [python, "-m", "tests.serving.stress", found.path, str(rows)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(found.signatures)


def test_what_lies_in_the_folder(write, tmp_path, vocabulary):
    steps = []
    found = write(
        "classification",
        tmp_path / "base",
        about="\n## Precision\n",
        files={"LICENSE": b"free"},
        progress=lambda *step: steps.append(step),
    )
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    text = (found.path / "README.md").read_text("utf-8")
    assert text.endswith("\n## Precision\n")
    # All classes by name next to their probabilities.
    (_, answer), *_ = _printed(text)
    numbers = answer["predictions"][0]["probabilities"]
    labels = SPECS["classification"].labels
    for label, number in zip(labels, numbers, strict=True):
        assert re.search(rf"^\| {label} +\| +{number:.4f} \|$", text, re.M)
    assert {file.name for file in found.path.iterdir()} == {
        *("saved_model.pb", "fingerprint.pb", "variables", "assets"),
        *("assets.extra", "batching_params.pbtxt", "README.md", "LICENSE"),
    }
    assets = found.path / "assets"
    assert {file.name for file in assets.iterdir()} == {
        *("vocab.txt", "vocab.json", "labels.json")
    }
    assert kbert.Vocabulary.load(assets / "vocab.txt") == vocabulary
    labels = json.loads((assets / "labels.json").read_text("utf-8"))
    assert labels == [*SPECS["classification"].labels]
    graph = (found.path / "saved_model.pb").read_bytes()
    assert str(tmp_path).encode() not in graph
    # Like a folder made by mkdir: another user, the server, may read it.
    (tmp_path / "plain").mkdir()
    assert found.path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    sizes = [x.stat().st_size for x in found.path.rglob("*") if x.is_file()]
    assert found.num_bytes == sum(sizes)


@pytest.mark.parametrize("task", ["classification", *_LOOPS])
@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(task, build, vocabulary, tmp_path):
    """Though TensorFlow counts its functions on, and draws identities."""
    _save_twice(SPECS[task], build, vocabulary, tmp_path)
    assert _bytes(tmp_path / "first") == _bytes(tmp_path / "second")


@pytest.mark.parametrize(
    ("precision", "policy"),
    [("int8", "float32"), ("bfloat16", "mixed_bfloat16")],
)
@pytest.mark.slow
def test_the_same_bytes_in_reduced_precision(
    precision, policy, build, vocabulary, tmp_path
):
    keras.config.set_dtype_policy(policy)
    spec = SPECS["classification"]
    _save_twice(spec, build, vocabulary, tmp_path, precision=precision)
    assert _bytes(tmp_path / "first") == _bytes(tmp_path / "second")


def _save_twice(spec, build, vocabulary, path, **options):
    for name in ("first", "second"):
        keras.utils.set_random_seed(1)
        made = Signatures(
            build(spec), vocabulary=vocabulary, spec=spec, **options
        )
        exporting._save(made, made.by_name(), path / name)


def _bytes(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in files}


def test_versions(tmp_path):
    base = tmp_path / "base"
    for name in ("1", "7", "notes"):
        (base / name).mkdir(parents=True)
    assert exporting._free_version(base, None) == 8
    assert exporting._free_version(base, 3) == 3
    message = "base: version 7 exists already; the next free one is 8"
    with pytest.raises(ValueError, match=message):
        exporting._free_version(base, 7)
    for version in (0, -1, 2**63, 10**30):
        with pytest.raises(ValueError, match=f"version is {version}; needs 1"):
            exporting._free_version(base, version)


def test_versions_that_are_no_server_s(tmp_path):
    """It passes over them, and so does the next free one."""
    for name in (str(10**30), "\u0663", "007"):
        (tmp_path / name).mkdir()
    assert exporting._free_version(tmp_path, None) == 8
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(ValueError, match=f"version is {2**63}; needs 1 to"):
        exporting._free_version(tmp_path, None)


def test_a_server_never_sees_a_half_written_version(
    write, tmp_path, monkeypatch
):
    """TensorFlow Serving takes every folder whose name is a number."""
    seen = []

    def save(_, path, **__):
        os.makedirs(path, exist_ok=True)
        seen.extend(entry.name for entry in tmp_path.iterdir())
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", save)
    left = tmp_path / ".kbert-0123456789abcdef"  # of an export that was killed
    left.mkdir()
    (left / "labels.json").touch()
    with pytest.raises(OSError, match="disk full"):
        write("encoder", tmp_path)
    assert seen and not [name for name in seen if name.isdecimal()]
    assert not list(tmp_path.iterdir())


def test_an_export_that_answers_otherwise_is_refused(
    write, tmp_path, monkeypatch
):
    """Here by what is saved, which is another model's."""
    save = tf.saved_model.save

    def other(root, *others, **options):
        kernel = root.weights[-1]
        was = kernel.numpy()
        kernel.assign(was + 1)
        save(root, *others, **options)
        kernel.assign(was)

    monkeypatch.setattr(tf.saved_model, "save", other)
    with pytest.raises(ValueError, match="exported .* does not answer as the"):
        write("regression", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_process_that_fails_is_reported(tmp_path):
    """With the last line of its error: here there is no export."""
    message = "does not answer in a new process: .*saved_model.pb"
    with pytest.raises(ValueError, match=message):
        replay.answers_of_new_process(tmp_path)


def test_a_process_that_crashes_is_reported(tmp_path, monkeypatch):
    """As at a text without an axis, before its rank was checked."""
    script = tmp_path / "crash.py"
    script.write_text("import os\nos.kill(os.getpid(), 11)\n")
    monkeypatch.setattr(replay, "__file__", str(script))
    with pytest.raises(ValueError, match="new process: ended by SIGSEGV"):
        replay.answers_of_new_process(tmp_path)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda x: x, r"tag: a malformed text of shape \(\) is answered"),
        (
            lambda x: tf.ensure_shape(x, [None], name="rank"),
            r"a malformed text of shape \(\) is not named: .*StringLower",
        ),
    ],
)
def test_an_export_that_answers_malformed_requests(check, message, tmp_path):
    """Or that refuses them, but does not say which of its inputs it is."""
    module = tf.Module()
    module.graph = tf.function(
        lambda text: {"y": tf.strings.length(check(tf.strings.lower(text)))}
    )
    spec = tf.TensorSpec([None], tf.string, "text")
    graphs = {"tag": module.graph.get_concrete_function(spec)}
    tf.saved_model.save(module, tmp_path, graphs)
    asked = predict_pb2.PredictRequest()
    asked.model_spec.signature_name = "tag"
    asked.inputs["text"].CopyFrom(tf.make_tensor_proto(["a"]))
    exporting.warmup.write(tmp_path, [asked])
    with pytest.raises(ValueError, match=message):
        list(replay.answers_of(tmp_path))


def _half(x):
    return tf.cast(x, tf.bfloat16)


def _compiled(x):
    return tf.function(lambda x: x + 1, jit_compile=True)(x)


def _reading(x):
    return tf.map_fn(tf.io.read_file, tf.strings.as_string(x), tf.string)


def _save(graph, path):
    """A SavedModel of a function of numbers."""
    module = tf.Module()
    module.graph = tf.function(lambda x: {"y": graph(x)})
    spec = tf.TensorSpec([None], tf.float32, "x")
    tf.saved_model.save(module, path, module.graph.get_concrete_function(spec))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (_half, "y of serving_default is bfloat16; needs float32, integers"),
        (_compiled, "needs XLA, which TensorFlow Serving switches off"),
        (_reading, r"ReadFile \(.*\) reads a file; needs a graph"),
    ],
)
def test_what_a_server_would_refuse(graph, message, tmp_path):
    _save(graph, tmp_path)
    with pytest.raises(ValueError, match=message):
        portability.check(tmp_path, (2, 20))


def test_ops_that_a_server_has_not(tmp_path):
    """RoundRobinTrim came to tensorflow-text after 2.12."""
    import tensorflow_text

    def trim(x):
        ids = tf.cast(x, tf.int32)
        rows = tf.RaggedTensor.from_row_splits(ids, [0, tf.size(ids)])
        trimmer = tensorflow_text.RoundRobinTrimmer(4)
        return trimmer.trim([rows])[0].flat_values

    _save(trim, tmp_path)
    portability.check(tmp_path, (2, 20))
    message = "the op TFText>RoundRobin.* is not in TensorFlow Serving 2.19"
    with pytest.raises(ValueError, match=message):
        portability.check(tmp_path, (2, 19))


@pytest.mark.parametrize("text", ["2", "2.x", "two", "2.11", "2.12.1"])
def test_versions_of_servers(text):
    assert portability.parse_version("2.20") == (2, 20)
    with pytest.raises(ValueError, match=f"{text}.*; needs"):
        portability.parse_version(text)


def test_a_disk_that_takes_no_more(write, tmp_path):
    """By a limit to a file's size, which ends in the same kind of error."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="/1: not written: .*too large"):
            write("classification", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
