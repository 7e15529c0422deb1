# SPDX-License-Identifier: Apache-2.0
"""Which format a folder has, and what tells one model from another."""

import os
import shutil

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from kbert.checkpoints import folder, formats, huggingface, keras_hub
from kbert.checkpoints.folder import LoadedModel
from kbert.tasks import TaskSpec


@pytest.fixture
def loaded(build, tiny_config, vocabulary):
    spec = TaskSpec(
        task="classification", max_seq_length=12, labels=("bad", "good")
    )
    return LoadedModel(build(spec), tiny_config, vocabulary, spec)


@pytest.fixture
def hugging_face(loaded, tmp_path):
    path = tmp_path / "hf"
    huggingface.save(loaded, path, report=lambda line: None)
    return path


@pytest.fixture
def checkpoint(tmp_path):
    """Two checkpoints of a TensorFlow 1 model that is no BERT, in a folder."""
    path = tmp_path / "tf"
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("a", initializer=np.arange(3.0))
        session.run(v1.global_variables_initializer())
        for step in (1, 2):
            v1.train.Saver().save(session, f"{path}/a.ckpt", global_step=step)
    (path / "bert_config.json").write_text("{}")
    (path / "vocab.txt").write_text("[PAD]\n")
    return path


@pytest.mark.parametrize(
    ("module", "name"),
    [(huggingface, "Hugging Face model"), (keras_hub, "KerasHub preset")],
)
def test_a_classifier_of_each_format_is_recognized(
    module, name, loaded, tmp_path, capsys
):
    """A preset of KerasHub has a task.json, as a kbert model has."""
    module.save(loaded, tmp_path / "model", report=lambda line: None)
    found = formats.load(tmp_path / "model")
    assert found.spec.task == "classification"
    for got, want in zip(
        found.model.get_weights(), loaded.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(got, want)
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path}/model: {name}; ")
    assert said.count("\n") == 1


def test_a_kbert_model_is_read_in_silence(loaded, tmp_path, capsys):
    folder.save(
        tmp_path / "model",
        loaded.model,
        config=loaded.config,
        vocabulary=loaded.vocabulary,
        spec=loaded.spec,
    )
    assert formats.load(tmp_path / "model").spec == loaded.spec
    assert capsys.readouterr().err == ""
    found = formats.fingerprint(tmp_path / "model")
    assert found == folder.fingerprint(tmp_path / "model")


@pytest.mark.parametrize("form", ["kbert", "safetensors", "pickle", "h5"])
def test_a_pipe_instead_of_any_file_is_refused(form, loaded, tmp_path):
    """None is opened: nobody writes to it."""
    path = tmp_path / "model"
    if form == "kbert":
        fields = {x: y for x, y in vars(loaded).items() if x != "model"}
        folder.save(path, loaded.model, **fields)
    elif form == "h5":
        keras_hub.save(loaded, path, report=lambda line: None)
    else:
        huggingface.save(loaded, path, report=lambda line: None)
    if form == "pickle":
        torch = pytest.importorskip("torch")
        weights = path / "model.safetensors"
        tensors = safetensors.numpy.load_file(weights)
        tensors = {name: torch.tensor(x) for name, x in tensors.items()}
        torch.save(tensors, path / "pytorch_model.bin")
        weights.unlink()
    (path / "LICENSE").write_text("free")
    files = {file for file in path.rglob("*") if file.is_file()}
    files -= {path / "metadata.json"}  # of KerasHub, only looked for
    assert len(files) >= 5
    for file in files:
        content = file.read_bytes()
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(ValueError, match=file.name):
            formats.read(path)
        file.unlink()
        file.write_bytes(content)


def test_what_is_missing_is_drawn_from_the_seed(
    build, tiny_config, vocabulary, tmp_path
):
    """Two processes start from the same pooler."""
    spec = TaskSpec(task="encoder", max_seq_length=12)
    loaded = LoadedModel(build(spec), tiny_config, vocabulary, spec)
    huggingface.save(loaded, tmp_path / "hf", report=lambda line: None)
    weights = tmp_path / "hf" / "model.safetensors"
    tensors = safetensors.numpy.load_file(weights)
    kept = {k: v for k, v in tensors.items() if "pooler" not in k}
    assert len(kept) == len(tensors) - 2
    safetensors.numpy.save_file(kept, weights, {"format": "pt"})
    layers = [
        formats.load(tmp_path / "hf", seed=seed).model.get_layer("pooler")
        for seed in (1, 1, 2)
    ]
    one, same, other = (layer.kernel.numpy() for layer in layers)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_fingerprint_is_of_what_is_read(hugging_face, tmp_path):
    first = formats.fingerprint(hugging_face)
    shutil.copytree(hugging_face, tmp_path / "elsewhere" / "copy")
    copy = tmp_path / "elsewhere" / "copy"
    (copy / "README.md").write_text("mine")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "config.json").write_text("downloaded today")
    (copy / "checkpoint-5").mkdir()
    (copy / "checkpoint-5" / "model.safetensors").write_bytes(b"1")
    assert formats.fingerprint(copy) == first
    seen = {first}
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content + b"\n")
        seen.add(formats.fingerprint(copy))
        (copy / name).write_bytes(content)
    assert len(seen) == 4
    # A file that another reader would take is another model.
    (copy / "tokenizer.json").write_text("{}")
    assert formats.fingerprint(copy) not in seen


def test_the_fingerprint_of_a_checkpoint_is_of_its_files(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="2 checkpoints: a.ckpt-1.index, a.ck"):
        formats.fingerprint(checkpoint)
    first = formats.fingerprint(checkpoint / "a.ckpt-1")
    (checkpoint / "a.ckpt-1.meta").unlink()
    for file in checkpoint.glob("a.ckpt-2*"):
        file.unlink()
    assert formats.fingerprint(checkpoint) == first
    [data] = checkpoint.glob("*.data-*")
    data.write_bytes(data.read_bytes() + b"\n")
    second = formats.fingerprint(checkpoint)
    (checkpoint / "vocab.txt").write_text("[UNK]\n")
    assert len({first, second, formats.fingerprint(checkpoint)}) == 3
