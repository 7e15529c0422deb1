# SPDX-License-Identifier: Apache-2.0
"""Reads a model of any supported format, recognized by its files."""

import glob
import hashlib
import importlib
import os
import pathlib
import sys
from collections.abc import Iterable
from typing import NamedTuple

import keras

from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel


class _Format(NamedTuple):
    """A format and the files that identify it.

    Attributes:
        name: its name in messages.
        module: the module of kbert.checkpoints whose `load` reads it.
        needs: the files of its folder, for messages.
        files: patterns of the files that are read, for `fingerprint`, without
            the files of a TensorFlow checkpoint.
    """

    name: str
    module: str
    needs: str
    files: tuple[str, ...] = ()


KBERT = _Format("kbert model", "folder", "task.json")
_FILES = ("*.json", "*.txt", "*.safetensors", "*.bin")
_HUGGING_FACE = _Format(
    "Hugging Face model", "huggingface", "config.json", _FILES
)
_SENTENCE_TRANSFORMERS = _Format(
    "sentence-transformers model",
    "huggingface",
    "modules.json",
    (*_FILES, *(f"[0-9]*_*/{pattern}" for pattern in _FILES)),
)
_KERAS_HUB = _Format(
    "KerasHub preset",
    "keras_hub",
    "metadata.json",
    ("*.json", "*.h5", "assets/tokenizer/*"),
)
_TF_FILES = ("bert_config.json", "vocab.txt", "vocab.json")
_GOOGLE = _Format(
    "TensorFlow 1 checkpoint",
    "google",
    "bert_config.json, vocab.txt, *.ckpt.index",
    _TF_FILES,
)
_MODEL_GARDEN = _Format(
    "Model Garden checkpoint",
    "model_garden",
    "bert_config.json, vocab.txt, ckpt-*.index",
    _TF_FILES,
)
_FORMATS = (
    *(KBERT, _SENTENCE_TRANSFORMERS, _HUGGING_FACE),
    *(_KERAS_HUB, _GOOGLE, _MODEL_GARDEN),
)


class Found(NamedTuple):
    """A model that was read.

    Attributes:
        loaded: the model with its config, vocabulary and spec.
        lines: the messages of the reader, the name of the format first.
    """

    loaded: LoadedModel
    lines: list[str]


def read(path: str | os.PathLike, *, lower_case: bool | None = None) -> Found:
    """Reads a folder, or a checkpoint in one, of any supported format.

    Args:
        path: a kbert, Hugging Face, sentence-transformers, KerasHub,
            TensorFlow 1 or Model Garden model.
        lower_case: the casing, if no file gives it; it must not contradict a
            file.
    Raises: ValueError, naming the file, what was found and what is needed;
        OSError.
    """
    path = pathlib.Path(path)
    form = _format_of(path)
    lines = [form.name]
    if form is KBERT:
        loaded = folder.load(path)
        _check_casing(path, loaded, lower_case)
        return Found(loaded, lines)
    reader = importlib.import_module(f"kbert.checkpoints.{form.module}")
    loaded = reader.load(path, lower_case=lower_case, report=lines.append)
    return Found(loaded, lines)


def load(
    path: str | os.PathLike, *, lower_case: bool | None = None, seed: int = 0
) -> LoadedModel:
    """Reads a model for a command; prints the format if it is foreign.

    Args:
        path: as for `read`.
        lower_case: the casing, if no file gives it.
        seed: the seed of newly initialized layers, such as a missing pooler,
            so that they are equal in each process.
    Raises: as `read`.
    """
    keras.utils.set_random_seed(seed)
    loaded, lines = read(path, lower_case=lower_case)
    if lines != [KBERT.name]:
        print_report(path, lines)
    return loaded


def print_report(path: str | os.PathLike, lines: Iterable[str]) -> None:
    """Prints the messages about a model in one line on stderr."""
    text = "; ".join(line.rstrip(".") for line in lines)
    print(f"{path}: {text}.", file=sys.stderr, flush=True)


def fingerprint(path: str | os.PathLike) -> str:
    """Returns a hash of the files that a model is read from.

    It does not depend on the path. For a kbert model the stored checksum of
    the weights is used; for other models all files are read.

    Raises: ValueError if it is not a model; OSError.
    """
    path = pathlib.Path(path)
    form = _format_of(path)
    if form is KBERT:
        return folder.fingerprint(path)
    patterns = form.files
    if form in (_GOOGLE, _MODEL_GARDEN):
        from kbert.checkpoints import tf_checkpoint

        checkpoint = tf_checkpoint.find_checkpoint(path)
        path, name = checkpoint.parent, glob.escape(checkpoint.name)
        patterns = (*patterns, f"{name}.index", f"{name}.data-*")
    files = {
        file.relative_to(path).as_posix(): file
        for pattern in patterns
        for file in path.glob(pattern)
        if file.is_file()
    }
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        with open(file, "rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{name}\n{content}\n".encode())
    return digest.hexdigest()


def _check_casing(path, loaded, lower_case):
    found = loaded.config.lower_case
    if lower_case not in (None, found):
        raise ValueError(
            f"{path}: its lower_case is {found}; needs the same, got "
            f"{lower_case}."
        )


def _format_of(path: pathlib.Path) -> _Format:
    """Returns the format of a path.

    Raises: ValueError if it has none of them.
    """
    if path.is_dir():
        names = {entry.name for entry in path.iterdir()}
    else:  # the prefix of a checkpoint's files, which is not itself a file
        names = {entry.name for entry in path.parent.glob(f"{path.name}.*")}
    if "metadata.json" in names:  # a preset may have a task.json too
        return _KERAS_HUB
    if "task.json" in names:
        return KBERT
    if "modules.json" in names:
        return _SENTENCE_TRANSFORMERS
    if "config.json" in names:
        return _HUGGING_FACE
    if any(name.endswith(".index") for name in names):
        return _checkpoint(path)
    if not names:
        found = "is empty" if path.is_dir() else "no such folder or checkpoint"
        raise ValueError(f"{path}: {found}; needs a model's folder.")
    needs = "; ".join(f"{x.name} ({x.needs})" for x in _FORMATS)
    raise ValueError(
        f"{path}: not a model of a format that kbert reads: it has "
        f"{', '.join(sorted(names)[:5])}; needs the files of one of {needs}."
    )


def _checkpoint(path: pathlib.Path) -> _Format:
    """Returns the format of a TensorFlow checkpoint."""
    from kbert.checkpoints import tf_checkpoint

    file = tf_checkpoint.find_checkpoint(path)
    names = tf_checkpoint.open_checkpoint(file).shapes
    return _MODEL_GARDEN if tf_checkpoint.OBJECT_GRAPH in names else _GOOGLE
