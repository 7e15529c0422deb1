# SPDX-License-Identifier: Apache-2.0
"""kbert-export and its script, in processes of their own."""

import pathlib
import subprocess
import sys

import tensorflow as tf
import tensorflow_text  # noqa: F401, for its ops

import kbert
from kbert import tasks
from kbert.checkpoints import folder

SCRIPT = pathlib.Path(__file__).parents[2] / "export" / "export_savedmodel.py"


def _export(*flags):
    command = [sys.executable, SCRIPT, *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_exports_and_says_where(tmp_path, tiny_config, vocabulary):
    spec = tasks.TaskSpec(
        task="classification", max_seq_length=9, labels=("bad", "good")
    )
    folder.save(
        tmp_path / "model",
        tasks.build(tiny_config, spec),
        config=tiny_config,
        vocabulary=vocabulary,
        spec=spec,
    )
    base = tmp_path / "base"
    flags = [f"--model={tmp_path / 'model'}", f"--output_dir={base}"]
    assert _export(*flags, "--version=4") == (
        0,
        f"{base}/4: serving_default takes text and knows bad, good\n",
        "",
    )
    want = kbert.load(tmp_path / "model").predict(["not good"])[0]
    got = tf.saved_model.load(base / "4")(tf.constant(["not good"]))
    assert got["label"][0] == want["label"]


def test_a_model_that_is_not_there_is_one_line(tmp_path):
    code, stdout, stderr = _export(
        f"--model={tmp_path}/gone", f"--output_dir={tmp_path}/base"
    )
    assert (code, stdout) == (1, "")
    assert stderr == (
        f"kbert-export: error: {tmp_path}/gone: no such folder; wanted a "
        "kbert model folder.\n"
    )
    assert not (tmp_path / "base").exists()
