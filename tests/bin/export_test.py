# SPDX-License-Identifier: Apache-2.0
"""kbert-export: what it writes, says and refuses."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as flags_module
from tensorflow_serving.apis import predict_pb2

import kbert
from kbert import tasks
from kbert.checkpoints import folder
from kbert.serving import replay
from kbert.tasks.predictor import make_predictor

SCRIPT = pathlib.Path(__file__).parents[2] / "export" / "export_savedmodel.py"
TEXTS = ["good", "The film was not very good.", "", "bad bad film " * 9]


@pytest.fixture(scope="module")
def films(tmp_path_factory, tiny_config, vocabulary):
    """A model in the folder of a run, and its predictor, made once."""
    spec = tasks.TaskSpec(
        task="classification",
        max_seq_length=9,
        labels=("bad", "so-so", "schön"),
    )
    parts = {"vocabulary": vocabulary, "spec": spec}
    model = tasks.build(tiny_config, spec)
    rng = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    run = tmp_path_factory.mktemp("runs") / "films"
    run.mkdir()
    folder.save(
        run / "model",
        model,
        config=tiny_config,
        licences={"LICENSE.txt": b"free"},
        **parts,
    )
    (run / "flags.txt").write_text("--train=films.tsv\n--epochs=3\n")
    scores = {"loss": 0.25, "accuracy": 0.875, "metric": "accuracy"}
    (run / "evaluation.json").write_text(json.dumps(scores))
    return run, make_predictor(model, **parts)


@pytest.fixture
def trained(films, tmp_path):
    """A copy of the folder, and the predictor."""
    run, predictor = films
    shutil.copytree(run, tmp_path / "films")
    return tmp_path / "films" / "model", predictor


@pytest.mark.slow
def test_it_answers_as_the_model_does(trained, tmp_path, call):
    """Loaded as a server does, when nothing else is left."""
    path, server = trained
    base = tmp_path / "base"
    flags = [f"--model={path}", f"--output_dir={base}", "--version=4"]
    flags += ["--sample_text=my <own> text", "--language=en,de", "--datasets=d"]
    first, *lines = call("export", *flags).splitlines()
    assert first.startswith(f"{base}/4: ") and first.endswith(" MB")
    assert lines == [
        "  serving_default: text -> label, probabilities",
        "  embeddings: text -> embedding",
        "  token_ids: token_ids, segment_ids, lengths -> logits",
    ]
    elsewhere = tmp_path / "elsewhere"
    shutil.move(base / "4", elsewhere)
    shutil.rmtree(base)
    shutil.rmtree(path)
    text = (elsewhere / "README.md").read_text("utf-8")
    assert text.count('{"text": "my <own> text"}') == 2  # and of `embeddings`
    _check_card((elsewhere / "MODEL_CARD.md").read_text("utf-8"))
    assert (elsewhere / "LICENSE.txt").read_bytes() == b"free"

    request = predict_pb2.PredictRequest()
    texts = tf.make_tensor_proto(TEXTS)
    request.inputs["text"].CopyFrom(texts)
    answer = replay.Served(elsewhere).answer(request)
    want = server.predict(TEXTS)
    expected = [list(row["probabilities"].values()) for row in want]
    assert np.ptp(expected, axis=0).max() > 0.05  # the texts do differ
    got = tf.make_ndarray(answer.outputs["probabilities"])
    np.testing.assert_allclose(got, expected, atol=1e-5)
    labels = tf.make_ndarray(answer.outputs["label"]).tolist()
    assert [x.decode() for x in labels] == [row["label"] for row in want]


def test_the_script_is_the_command():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--min_server" in done.stdout
    assert "usage: kbert-export" in done.stdout


def _check_card(card):
    assert "\nlicense_link: LICENSE.txt\n" in card
    assert "\npipeline_tag: text-classification\n" in card
    assert "\n# films\n" in card
    assert "\nlanguage:\n- en\n- de\ndatasets:\n- d\n" in card
    rows = [[x.strip() for x in line.split("|")] for line in card.splitlines()]
    table = {row[1]: row[2] for row in rows if len(row) == 4}
    assert table["train"] == "films.tsv"
    assert table["accuracy"] == "0.8750"
    assert (table["blocks"], table["classes"]) == ("2", "3")
    assert "--epochs=3" in card


@pytest.mark.slow
@pytest.mark.parametrize("reduced", ["", "--dtype=bfloat16", "--quantize=int8"])
def test_two_processes_write_the_same_bytes(reduced, trained, tmp_path):
    path, _ = trained
    more = []
    if reduced:
        dev = tmp_path / "dev.tsv"
        dev.write_text("text\tlabel\ngood\tbad\nbad film\tso-so\n")
        more = [reduced, f"--dev={dev}", "--text_columns=text"]
        more.append("--max_score_drop=1")
    written = []
    for name in ("one", "two"):
        base = tmp_path / name
        code = "from kbert.bin import export; export.cli()"
        flags = [f"--model={path}", f"--output_dir={base}", *more]
        subprocess.run([sys.executable, "-c", code, *flags], check=True)
        files = [x for x in base.rglob("*") if x.is_file()]
        written.append({x.relative_to(base): x.read_bytes() for x in files})
    assert written[0] == written[1] and len(written[0]) > 8


@pytest.mark.parametrize("version", ["0", str(2**63), str(10**30), "1.5"])
def test_versions_that_no_server_takes(version, trained, tmp_path, call):
    path, _ = trained
    flags = [f"--model={path}", f"--output_dir={tmp_path / 'out'}"]
    with pytest.raises(flags_module.IllegalFlagValueError, match="--version"):
        call("export", *flags, f"--version={version}")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--min_server=2.11", "^--min_server=2.11; needs 2.12 or later"),
        ("--min_server=new", "^--min_server='new'; needs a version such as"),
        ("--model=nowhere", "^nowhere: no such folder or checkpoint"),
        ("--quantize=int8", "^--quantize=int8 needs --dev, a file to measure"),
        ("--dtype=bfloat16", "^--dtype=bfloat16 needs --dev, a file to"),
        ("--dtype=bfloat16 --quantize=int8", "^Give one of --dtype and --qua"),
        ("--dev=dev.tsv", "^--dev: only with --dtype=bfloat16 or --quantize"),
        ("--max_score_drop=0.1", "^--max_score_drop: only with --dtype=bfl"),
        ("--label_column=a", "^--label_column: only for --dev"),
        (
            "--sample_text=a --sample_text=b",
            "^--sample_text: 2 texts; needs 1: text",
        ),
    ],
)
def test_wrong_flags(flag, message, trained, tmp_path, call):
    path, _ = trained
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=message):
        call("export", f"--model={path}", f"--output_dir={out}", *flag.split())
    assert not list(out.glob("*"))


@pytest.mark.slow
def test_a_tagger_answers_by_the_aggregation_that_is_given(
    build, tmp_path, tiny_config, vocabulary, call
):
    """Entities side by side are one, as kbert.load has it for the same."""
    spec = tasks.TaskSpec(task="tagging", max_seq_length=9, labels=("O", "B-x"))
    folder.save(
        tmp_path / "model",
        build(spec),
        config=tiny_config,
        vocabulary=vocabulary,
        spec=spec,
    )
    flags = [f"--model={tmp_path}/model", f"--output_dir={tmp_path}/base"]
    call("export", *flags, "--aggregation=joined")
    request = predict_pb2.PredictRequest()
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(TEXTS))
    answer = replay.Served(tmp_path / "base" / "1").answer(request)
    joined, first = (
        [
            len(row["entities"])
            for row in kbert.load(tmp_path / "model", **how).predict(TEXTS)
        ]
        for how in ({"aggregation": "joined"}, {})
    )
    assert tf.make_ndarray(answer.outputs["entities"]).tolist() == joined
    assert joined != first


@pytest.mark.slow
def test_int8_is_a_part_of_the_readme_and_the_card(trained, tmp_path, call):
    path, _ = trained
    dev = tmp_path / "dev.tsv"
    dev.write_text("text\tlabel\ngood\tbad\nbad film\tso-so\n")
    base = tmp_path / "base"
    flags = [f"--model={path}", f"--output_dir={base}", "--quantize=int8"]
    flags += ["--text_columns=text", f"--dev={dev}", "--max_score_drop=1"]
    printed = call("export", *flags)
    text = (base / "1" / "README.md").read_text("utf-8")
    part = text[text.index("## Precision") :].strip()
    assert "on dev.tsv, 2 rows" in part and part in printed
    card = (base / "1" / "MODEL_CARD.md").read_text("utf-8")
    assert "README.md has what int8 changes" in card
    for file in (base / "1").rglob("*"):  # no row of dev comes along
        assert not file.is_file() or b"bad film" not in file.read_bytes()


def test_a_model_without_a_score(tmp_path, tiny_config, vocabulary, call):
    spec = tasks.TaskSpec(task="encoder", max_seq_length=9)
    model = tasks.build(tiny_config, spec)
    folder.save(
        tmp_path / "model",
        model,
        config=tiny_config,
        vocabulary=vocabulary,
        spec=spec,
    )
    flags = [f"--model={tmp_path / 'model'}", "--output_dir=out"]
    with pytest.raises(ValueError, match="has no score to measure"):
        call("export", *flags, "--quantize=int8", "--dev=dev.tsv")
