# SPDX-License-Identifier: Apache-2.0
"""A wheel is whole: it runs where no checkout is, as kbert's docstring says."""

import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import pytest

import kbert
from kbert.checkpoints import huggingface
from kbert.checkpoints.folder import LoadedModel
from kbert.tasks import TaskSpec

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")

DATA = """
texts = ["the film was good", "the film was bad", "good .", "bad ."] * 2
labels = ["good", "bad"] * 4
dev_texts, dev_labels = texts, labels
"""
INSIDE = """
import sys

kbert.BertConfig.from_json("tiny", vocab_size=15, lower_case=True)  # its data
files = [m.__file__ for name, m in sys.modules.items() if "kbert" in name]
assert len(files) > 20
assert all(file.startswith(sys.prefix) for file in files), files
"""


@pytest.fixture
def env(tmp_path):
    """A fresh environment with the wheel, whose requirements are ours."""
    for name in SOURCES:
        shutil.copy(ROOT / name, tmp_path)
    for name in ("kbert", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    flags = ["--no-deps", "--no-build-isolation", f"--wheel-dir={tmp_path}"]
    _run(tmp_path, *pip, "wheel", *flags, str(tmp_path))
    [wheel] = tmp_path.glob("*.whl")
    for name in ("kbert", "configs", "build"):
        shutil.rmtree(tmp_path / name)
    env = tmp_path / "env"
    _run(tmp_path, sys.executable, "-m", "venv", "--without-pip", env)
    [packages] = env.glob("lib/*/site-packages")
    # Without the .pth files in them, such as an editable kbert's.
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "ours.pth").write_text("".join(f"{path}\n" for path in ours))
    python = f"--python={env}/bin/python"
    _run(tmp_path, *pip, python, "install", "--no-deps", wheel)
    return env


def _run(folder, *command):
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_six_lines_and_two_commands(
    env, build, tiny_config, vocabulary, tmp_path
):
    spec = TaskSpec(task="encoder", max_seq_length=24)
    loaded = LoadedModel(build(spec), tiny_config, vocabulary, spec)
    work = tmp_path / "work"
    work.mkdir()
    huggingface.save(loaded, work / "all-MiniLM-L6-v2", report=lambda x: None)
    _, lines = (kbert.__doc__ or "").split("\n\n", 1)
    lines = textwrap.dedent(lines.split("\n\nThe public names")[0])
    assert lines.count("\n") > 8 and "export(" in lines
    script = work / "six_lines.py"
    script.write_text(DATA + lines + INSIDE)
    _run(work, env / "bin/python", script)
    assert (work / "out/serving/sentiment/1/saved_model.pb").exists()

    model = f"--model={work}/out/sentiment"
    said = _run(work, env / "bin/kbert-predict", model, "--text=A film.")
    assert '"label": ' in said
    (work / "dev.tsv").write_text("text\tlabel\nthe film was good\tgood\n")
    flags = ["--input=dev.tsv", "--text_columns=text"]
    said = _run(work, env / "bin/kbert-evaluate", model, *flags)
    assert "accuracy: " in said
