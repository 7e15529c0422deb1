# SPDX-License-Identifier: Apache-2.0
"""Every file in configs/ does what it says, and has the published size."""

import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from kbert.config import BertConfig
from kbert.models.pretrainer import build_pretrainer

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
MODELS = sorted(file.stem for file in CONFIGS.glob("models/*.json"))
RUNS = sorted(CONFIGS.glob("runs/*.flags"))

# Turc et al. 2019, arXiv:1908.08962, table 1, in millions; large: Devlin et
# al. 2019, arXiv:1810.04805, section 3. With the vocabulary of 30,522, the
# masked-LM transform and its bias.
PUBLISHED_MILLIONS = {
    "tiny": 4.4,
    "mini": 11.3,
    "small": 29.1,
    "medium": 41.7,
    "base": 110.1,
    "large": 340,
}
FIELDS = {
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
}


def _config(name):
    return BertConfig.from_json(name, vocab_size=30522, lower_case=True)


def _parameters(config):
    """Number of parameters of the pre-training model, added up by hand."""
    width, inner = config.hidden_size, config.intermediate_size
    norm = 2 * width
    tokens = config.vocab_size * width
    positions = config.max_position_embeddings * width
    segments = config.type_vocab_size * width
    attention = 4 * (width * width + width)
    feed_forward = width * inner + inner + inner * width + width
    block = attention + norm + feed_forward + norm
    dense = width * width + width
    embeddings = tokens + positions + segments + norm
    encoder = embeddings + config.num_hidden_layers * block + dense
    mlm = dense + norm + config.vocab_size
    return encoder + mlm + 2 * width + 2


def test_the_published_sizes_are_there():
    assert set(MODELS) == set(PUBLISHED_MILLIONS)


@pytest.mark.parametrize("name", MODELS)
def test_model_has_the_published_size(name):
    fields = json.loads((CONFIGS / "models" / f"{name}.json").read_text())
    assert set(fields) == FIELDS  # the defaults are in BertConfig
    assert fields["num_attention_heads"] == fields["hidden_size"] / 64
    assert fields["intermediate_size"] == fields["hidden_size"] * 4
    millions = _parameters(_config(name)) / 1e6
    # "340M" has two digits, the others are given to a tenth.
    tolerance = 5 if name == "large" else 0.05
    assert millions == pytest.approx(PUBLISHED_MILLIONS[name], abs=tolerance)


@pytest.mark.parametrize("name", ["tiny", "mini", "small"])
def test_model_builds_with_that_size(name):
    config = _config(name)
    assert build_pretrainer(config).count_params() == _parameters(config)


def test_there_are_runs():
    assert RUNS or not (CONFIGS / "runs").exists()


@pytest.mark.parametrize("file", RUNS, ids=lambda file: file.stem)
def test_run_is_what_its_command_takes(file):
    text = file.read_text("utf-8")
    purpose, command = text.splitlines()[:2]
    assert purpose.startswith("# ")
    match = re.fullmatch(r"#   kbert-([\w-]+) (.*)", command)
    assert match, f"{file}:2: needs '#   kbert-... --flagfile=...'"
    arguments = shlex.split(match[2])
    assert f"--flagfile=configs/runs/{file.name}" in arguments
    module = f"kbert.bin.{match[1].replace('-', '_')}"
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments, "--only_check_args"],
        capture_output=True,
        text=True,
        cwd=CONFIGS.parent,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("file", RUNS, ids=lambda file: file.stem)
def test_run_names_a_model_that_exists(file):
    given = re.findall(r"^--model_config=(.*)$", file.read_text("utf-8"), re.M)
    starts = re.findall(r"^--(?:init|model)=", file.read_text("utf-8"), re.M)
    assert given or starts or "--init=" in file.read_text("utf-8")
    for name in given:
        _config(name)
