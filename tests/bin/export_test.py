# SPDX-License-Identifier: Apache-2.0
"""kbert-export: what it writes answers where nothing else is left."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.serving import make_server

SCRIPT = pathlib.Path(__file__).parents[2] / "export" / "export_savedmodel.py"
TEXTS = ["good", "The film was not very good.", "", "bad bad film " * 9]

# Runs where kbert is not to be found, and answers requests from an export.
ASK = """
import json
import sys
import tensorflow as tf
import tensorflow_text  # for its ops; it imports Keras

assert "kbert" not in sys.modules
for name in ["kbert", *sys.modules]:
    if name.partition(".")[0] in ("kbert", "keras"):
        sys.modules[name] = None  # importing it is an error from here on

path, texts = json.load(sys.stdin)
signature = tf.saved_model.load(path).signatures["serving_default"]
bad = signature(text=tf.constant([b"\\xff", b"a\\xc3("]))
answer = signature(text=tf.constant(texts))
print(json.dumps({
    "probabilities": answer["probabilities"].numpy().tolist(),
    "label": [label.decode() for label in answer["label"].numpy()],
    "shapes_of_bad": [list(t.shape) for t in bad.values()],
}))
"""


@pytest.fixture
def trained(tmp_path, tiny_config, vocabulary):
    """A model in the folder of a run, and its server."""
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
    run = tmp_path / "films"
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
    return run / "model", make_server(model, **parts)


def test_it_needs_nothing_outside_itself(trained, tmp_path):
    path, server = trained
    base = tmp_path / "base"
    flags = [f"--model={path}", f"--output_dir={base}", "--version=4"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *flags], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
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
    _check_card((elsewhere / "MODEL_CARD.md").read_text("utf-8"))
    assert (elsewhere / "LICENSE.txt").read_bytes() == b"free"

    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([str(elsewhere), TEXTS]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    want = server.predict(TEXTS)
    wanted = [list(row["probabilities"].values()) for row in want]
    assert np.ptp(wanted, axis=0).max() > 0.05  # the texts do differ
    np.testing.assert_allclose(got["probabilities"], wanted, atol=1e-5)
    assert got["label"] == [row["label"] for row in want]
    assert sorted(got["shapes_of_bad"]) == [[2], [2, 3]]


def _check_card(card):
    assert card.startswith("---\nlicense: LICENSE.txt\n")
    assert "\n# films\n" in card
    rows = [[x.strip() for x in line.split("|")] for line in card.splitlines()]
    table = {row[1]: row[2] for row in rows if len(row) == 4}
    assert table["train"] == "films.tsv"
    assert table["accuracy"] == "0.8750"
    assert (table["blocks"], table["classes"]) == ("2", "3")
    assert "--epochs=3" in card


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--min_server=2.11", "^--min_server=2.11; wanted 2.12 or later"),
        ("--min_server=new", "^--min_server='new'; wanted a version such as"),
        ("--model=nowhere", "^nowhere: no such folder; wanted a kbert model"),
    ],
)
def test_wrong_flags(flag, message, trained, tmp_path, call):
    path, _ = trained
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=message):
        call("export", f"--model={path}", f"--output_dir={out}", flag)
    assert not out.exists()
