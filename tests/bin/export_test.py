# SPDX-License-Identifier: Apache-2.0
"""kbert-export, started by its script in a process of its own."""

import pathlib
import subprocess
import sys

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401, for its ops

from kbert import tasks
from kbert.checkpoints import folder
from kbert.serving import make_server

SCRIPT = pathlib.Path(__file__).parents[2] / "export" / "export_savedmodel.py"


def test_exports_and_says_where(tmp_path, tiny_config, vocabulary):
    spec = tasks.TaskSpec(
        task="classification", max_seq_length=9, labels=("bad", "good")
    )
    parts = {"vocabulary": vocabulary, "spec": spec}
    model = tasks.build(tiny_config, spec)
    rng = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    folder.save(tmp_path / "model", model, config=tiny_config, **parts)
    base = tmp_path / "base"
    flags = [f"--model={tmp_path / 'model'}", f"--output_dir={base}"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *flags, "--version=4"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = f"{base}/4: serving_default takes text and gives "
    said += "label, probabilities\n"
    assert done.stdout == said
    want = make_server(model, **parts)(tf.constant(["not good"]))
    got = tf.saved_model.load(base / "4")(tf.constant(["not good"]))
    assert got["label"][0] == want["label"][0]
    np.testing.assert_allclose(
        got["probabilities"], want["probabilities"], atol=1e-5
    )
