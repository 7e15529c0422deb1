# SPDX-License-Identifier: Apache-2.0
"""Hugging Face folders that are damaged or hostile: one line, nothing made."""

import json
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

from kbert.checkpoints import huggingface

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

KINDS = ("safetensors", "zip", "legacy")
TABLE = "embeddings.word_embeddings.weight"
LAYER = "encoder.layer.0.output.dense.bias"

# Converts copies of folders, all but the first damaged, in a process of its
# own, which damage may kill or stop. A line for each: what was done to which
# file, and how it ended. Any exception but those of bad input ends the process.
CONVERTER = r"""
import os, pathlib, shutil, sys
import numpy as np
from absl import flags
from kbert.bin import convert

root, first, count = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:])
copy, output = root / "copy", root / "output"
OTHERS = (  # the last stands for a pipe
    b"[" * 10**5,
    b'{"a":' * 10**5,
    b'{"vocab_size": 1' + b"0" * 5000 + b"}",
    b'{"hidden_size": NaN, "hidden_size": 1e999}',
    b"version https://git-lfs.github.com/spec/v1\noid x\nsize 1\n",
    b"",
)
for seed in range(first, first + count):
    rng = np.random.default_rng(seed)
    kind = ("safetensors", "zip", "legacy")[seed % 3]
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root / kind, copy)
    # The weights as often as the other files together.
    files = sorted(copy.iterdir(), key=lambda file: file.stat().st_size)
    weights = files.pop()
    file = weights if rng.random() < 0.5 else files[rng.integers(len(files))]
    data = bytearray(file.read_bytes())
    end = len(data)
    if file is weights and rng.random() < 0.7:
        end = 2000  # where headers and pickles are
    if seed == first:
        what = "left whole"
    elif rng.random() < 0.2:
        data = OTHERS[rng.integers(len(OTHERS))]
        what = f"exchanged for {data[:9]}"
    elif rng.random() < 0.3:
        del data[rng.integers(end) :]
        what = f"cut at {len(data)}"
    else:
        bits = rng.integers(8 * end, size=rng.integers(1, 4))
        for bit in bits:
            data[bit // 8] ^= 1 << (bit % 8)
        what = f"bits {bits} flipped"
    file.write_bytes(data)
    if not data:
        file.unlink()
        os.mkfifo(file)
    print(f"{seed} {kind} {file.name} {what}", end=": ", flush=True)
    try:
        flags.FLAGS(
            ["convert", "--from=huggingface", f"--input={copy}"]
            + [f"--output={output}", "--lower_case"]
        )
        said = []
        convert.print = said.append
        convert.main(["convert"])
        result = "done: " + " ".join(said)
        shutil.rmtree(output)
    except (ValueError, OSError) as error:
        assert str(error), "no message"
        assert str(copy) in str(error), error
        result = f"refused: {error}"
    left = sorted(entry.name for entry in root.iterdir())
    assert left == ["copy", "legacy", "safetensors", "zip"], left
    print(" ".join(result.split()), flush=True)
"""


def _make(path, kind, vocabulary):
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=9,
    )
    model = transformers.BertForPreTraining(config)
    model.save_pretrained(path)
    if kind != "safetensors":
        (path / "model.safetensors").unlink()
        torch.save(
            model.state_dict(),
            path / "pytorch_model.bin",
            _use_new_zipfile_serialization=kind == "zip",
        )
    (path / "vocab.txt").write_text("\n".join(vocabulary.tokens) + "\n")
    fields = {"do_lower_case": True, "model_max_length": 9}
    (path / "tokenizer_config.json").write_text(json.dumps(fields))
    return path


@pytest.mark.parametrize(
    ("first", "count"),
    [(0, 3), pytest.param(3, 1000, marks=pytest.mark.slow)],
)
def test_damaged_files(first, count, tmp_path, vocabulary):
    for kind in KINDS:
        _make(tmp_path / kind, kind, vocabulary)
    done = subprocess.run(
        [sys.executable, "-c", CONVERTER, tmp_path, str(first), str(count)],
        capture_output=True,
        text=True,
        timeout=120 + count,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (lines[-1:], done.stderr[-3000:])
    assert len(lines) == count
    refused = sum(": refused: " in line for line in lines)
    # Some bits change nothing that a format could show; how many differs:
    # the legacy format holds addresses.
    assert ": done: " in lines[0], lines[0]
    assert count / 2 < refused < count


def _load(path):
    return huggingface.load(path, lower_case=True)


@pytest.mark.parametrize("kind", ["safetensors", "zip"])
def test_a_git_lfs_pointer_instead_of_a_file(kind, tmp_path, vocabulary):
    path = _make(tmp_path / "hf", kind, vocabulary)
    kinds = {"safetensors": "model.safetensors", "zip": "pytorch_model.bin"}
    names = "config.json", "tokenizer_config.json", "vocab.txt", kinds[kind]
    for file in (path / name for name in names):
        whole = file.read_bytes()
        file.write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
        message = f"{file.name}: is a Git LFS pointer, .*run git lfs pull"
        with pytest.raises(ValueError, match=message):
            _load(path)
        file.write_bytes(whole)


class _RunsCode:
    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self._path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code(zipped, tmp_path, vocabulary):
    path = _make(tmp_path / "hf", "zip", vocabulary)
    trap = tmp_path / "code_has_run"
    torch.save(
        {"bert.pooler.dense.bias": torch.ones(8), "x": _RunsCode(trap)},
        path / "pytorch_model.bin",
        _use_new_zipfile_serialization=zipped,
    )
    message = r"pytorch_model\.bin: refused: damaged, or has more than tensors"
    with pytest.raises(ValueError, match=message) as caught:
        _load(path)
    # Not how to trust the file: weights_only, add_safe_globals, ...
    assert re.search("reduce|touch|getattr|Path", str(caught.value))
    assert not re.search("weights_only|safe_globals|trust", str(caught.value))
    assert "\n" not in str(caught.value)
    assert not trap.exists()


def test_a_storage_longer_than_its_record(tmp_path, vocabulary):
    """PyTorch believes the pickle, and would read beyond the record."""
    path = _make(tmp_path / "hf", "zip", vocabulary)
    file = path / "pytorch_model.bin"
    torch.save({TABLE: torch.arange(10**6, dtype=torch.float32)}, file)
    short = tmp_path / "short.zip"
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(short, "w") as cut:
        for entry in whole.infolist():
            data = whole.read(entry)
            cut.writestr(
                entry.filename,
                data[:64] if "/data/" in entry.filename else data,
            )
    short.replace(file)
    message = (
        r"pytorch_model\.bin: (a tensor of 4,000,000 bytes|not a complete)"
    )
    with pytest.raises(ValueError, match=message):
        _load(path)


def test_a_zip_bomb(tmp_path, vocabulary):
    path = _make(tmp_path / "hf", "zip", vocabulary)
    file = path / "pytorch_model.bin"
    packed = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
    with packed as archive:
        archive.writestr("archive/data.pkl", b"")
        archive.writestr("archive/data/0", bytes(10**8))
    assert file.stat().st_size < 10**6
    with pytest.raises(ValueError, match="compressed records"):
        _load(path)


def test_a_pickle_without_pytorch(tmp_path, vocabulary, monkeypatch):
    path = _make(tmp_path, "zip", vocabulary)
    monkeypatch.setitem(sys.modules, "torch", None)
    message = r"bin: a pickle, which only .*: pip install 'kbert-keras\[to"
    with pytest.raises(ValueError, match=message):
        _load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], r"needs a dict of tensors by their names"),
        (
            {"state_dict": {"a": torch.ones(2)}},
            "tensors missing: embeddings.wo",
        ),
        (
            {TABLE: 3, LAYER: 4},
            "embeddings.word_embeddings.weight is of type int; needs floating",
        ),
        (
            {TABLE: torch.ones(2).to_sparse(), LAYER: torch.ones(2)},
            "embeddings.word_embeddings.weight is of type torch.float32; needs",
        ),
    ],
)
def test_a_pickle_of_something_else(content, message, tmp_path, vocabulary):
    path = _make(tmp_path, "zip", vocabulary)
    torch.save(content, path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=message):
        _load(path)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (
            torch.ones(8, device="meta"),
            "is of type torch.float32; needs float",
        ),
        (torch.ones(1).expand(10**13), "cannot fill pooler/bias, which has"),
    ],
)
def test_a_tensor_that_is_only_a_shape(tensor, message, tmp_path, vocabulary):
    path = _make(tmp_path, "zip", vocabulary)
    tensors = torch.load(path / "pytorch_model.bin")
    tensors["bert.pooler.dense.bias"] = tensor
    torch.save(tensors, path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=f"pooler.dense.bias .*{message}"):
        _load(path)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"{}"]
)
def test_what_is_no_safetensors_file(data, tmp_path, vocabulary):
    path = _make(tmp_path, "safetensors", vocabulary)
    (path / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.safetensors: "):
        _load(path)


def test_no_weights(tmp_path, vocabulary):
    path = _make(tmp_path, "safetensors", vocabulary)
    (path / "model.safetensors").rename(path / "tf_model.h5")
    message = r"no model\.safetensors and no .*; found tf_model\.h5\."
    with pytest.raises(ValueError, match=message):
        _load(path)
    with pytest.raises(ValueError, match="gone: no such folder; needs"):
        _load(tmp_path / "gone")
    with pytest.raises(ValueError, match="vocab.txt: a file; needs a folder"):
        _load(tmp_path / "vocab.txt")
