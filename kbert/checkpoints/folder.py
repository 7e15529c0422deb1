# SPDX-License-Identifier: Apache-2.0
"""Reads and writes kbert's model folder: everything that a model needs.

    bert_config.json         BertConfig
    vocab.txt, vocab.json    Vocabulary
    task.json                format_version and the fields of TaskSpec
    model.weights.h5         the file of `keras.Model.save_weights`, and a list
                             of the variables' paths and shapes
    model.weights.h5.sha256  checksums of these files, for `sha256sum -c`;
                             older folders have only that of the weights
    LICENSE, NOTICE, ...     of the weights, if they came with any

Keras identifies a variable in the file by its layer's class and the layer's
index among the layers of this class. So automatic layer names do not matter,
but two variables of one shape would be swapped unnoticed if the code built
their layers in another order. `load` compares the list to prevent this. The
checksum is needed because HDF5 reads some damaged files without an error.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import h5py
import keras

from kbert import atomic_files, input_files, json_files, tasks
from kbert.checkpoints.hdf5_files import (
    check_room,
    count_numbers,
    explain_damage,
)
from kbert.config import BertConfig
from kbert.input_files import check_regular
from kbert.tasks import TaskSpec
from kbert.text.vocabulary import CASING_FILE, VOCABULARY_FILE, Vocabulary

FORMAT_VERSION = 1

_CONFIG = "bert_config.json"
_TASK = "task.json"
_WEIGHTS = "model.weights.h5"
_CHECKSUM = "model.weights.h5.sha256"
_FILES = (_CONFIG, VOCABULARY_FILE, CASING_FILE, _TASK, _WEIGHTS, _CHECKSUM)
_SUMMED = tuple(name for name in _FILES if name != _CHECKSUM)
_VARIABLES = "kbert_variables"  # the list in the HDF5 file

# Files in the folders of other libraries: Hugging Face, google-research/bert,
# KerasHub presets, saved models.
_FOREIGN = (
    *("config.json", "modules.json", "metadata.json", "saved_model.pb"),
    *("*.safetensors", "*.bin", "*.ckpt*", "*.keras"),
)

# The layers of kbert.models.encoder without the pooler, which some models lack;
# all other layers are heads.
_ENCODER_LAYER = re.compile(r"token_embedding|embeddings|block_\d+")

_MAX_LICENCE_BYTES = 16 * 2**20  # enough for a PDF
_LICENCE = re.compile(
    r"(model[-_])?(licen[cs]e|copying|notice)[\w-]*"
    r"(\.(txt|md|rst|html|pdf))?",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model with its config, vocabulary, spec and licences."""

    model: keras.Model
    config: BertConfig
    vocabulary: Vocabulary
    spec: TaskSpec
    # The licences of the weights, by file name.
    licences: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


def save(
    folder: str | os.PathLike,
    model: keras.Model,
    *,
    config: BertConfig,
    vocabulary: Vocabulary,
    spec: TaskSpec,
    licences: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Writes a model folder, atomically.

    An existing kbert model is replaced.

    Raises: ValueError if the folder contains anything else, or if config,
        vocabulary and spec contradict each other; OSError.
    """
    folder = atomic_files.folder_path(folder)
    check_replaceable(folder)
    try:
        _check_parts(config, vocabulary, spec)
    except ValueError as error:
        raise ValueError(f"{folder}: not saved: {error}") from None
    with atomic_files.writing_folder(folder, "replace") as partial:
        config.to_json(partial / _CONFIG)
        vocabulary.save(partial)
        fields = {"format_version": FORMAT_VERSION, **spec.to_json()}
        text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
        (partial / _TASK).write_text(text, encoding="utf-8")
        weights = partial / _WEIGHTS
        check_room(weights, model)
        with _without_optimizer(model):
            model.save_weights(weights)
        with h5py.File(weights, "a") as file:
            file[_VARIABLES] = _describe_variables(model)
        _write_sums(partial)
        for name, text in licences.items():
            (partial / name).write_bytes(text)


def load(folder: str | os.PathLike) -> LoadedModel:
    """Reads a model folder and checks that its files belong together.

    Raises: ValueError, naming the file, what was found and what is needed;
        OSError.
    """
    folder = pathlib.Path(folder)
    atomic_files.recover(folder)
    _check_files(folder)
    config = BertConfig.from_json(folder / _CONFIG)
    vocabulary = Vocabulary.load(folder / VOCABULARY_FILE)
    spec = _read_spec(folder / _TASK)
    try:
        _check_parts(config, vocabulary, spec)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    _check_sums(folder)
    weights = folder / _WEIGHTS
    with explain_damage(weights, f"{_CONFIG} and {_TASK}"):
        num_weights = count_numbers(weights)
        variables = _read_variables(weights)
    check_size(tasks.num_weights(config, spec), num_weights, where=weights)
    model = tasks.build(config, spec)
    _check_variables(weights, variables, model)
    with explain_damage(weights, f"{_CONFIG} and {_TASK}"):
        model.load_weights(weights)
    return LoadedModel(model, config, vocabulary, spec, read_licences(folder))


def read_config(folder: str | os.PathLike) -> BertConfig:
    """Reads only the config of a model folder.

    Raises: ValueError, naming the file and the field; OSError.
    """
    return BertConfig.from_json(pathlib.Path(folder) / _CONFIG)


def fingerprint(folder: str | os.PathLike) -> str:
    """Returns a hash of a model's files, with the stored sum of the weights.

    Raises: OSError if a file is missing.
    """
    digest = hashlib.sha256()
    for name in _FILES:
        if name != _WEIGHTS:
            content = (pathlib.Path(folder) / name).read_bytes()
            digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def check_size(
    needed: int, num_weights: int, *, where: str | os.PathLike
) -> None:
    """Checks that a model is not far larger than the weights in a file.

    Call it before the model is built, which could allocate any amount of
    memory. Differences below a factor of two are found later, variable by
    variable.

    Args:
        needed: weights of the model, without its smaller layers.
        num_weights: those in the file.
        where: the file, for the message.
    Raises: ValueError, naming `where`.
    """
    if needed > 2 * num_weights:
        raise ValueError(
            f"{where}: has {num_weights:,} weights; the encoder of the config, "
            f"with any dense layers, needs {needed:,}."
        )


def read_licences(folder: str | os.PathLike) -> dict[str, bytes]:
    """Reads licence files: LICENSE, LICENSE.txt, COPYING, NOTICE.md, ...

    They are copied to other folders, which may be published.

    Returns: the contents by file name.
    Raises: ValueError, naming the file, if it is a link out of its folder
        (except in a Hugging Face cache), not a regular file or larger than
        16 MB; OSError.
    """
    return {
        entry.name: _read_licence(entry)
        for entry in sorted(pathlib.Path(folder).iterdir())
        if _LICENCE.fullmatch(entry.name) and not entry.is_dir()
    }


def _read_licence(path):
    size = input_files.check_inside(path)
    if size > _MAX_LICENCE_BYTES:
        raise ValueError(
            f"{path}: {size:,} bytes; needs at most {_MAX_LICENCE_BYTES:,} "
            "for a licence."
        )
    return path.read_bytes()


def copy_weights(
    source: keras.Model, target: keras.Model, *, fewer_blocks: bool = False
) -> list[str]:
    """Copies weights between models, for layers of the same name.

    Args:
        source: the model to copy from.
        target: the model to copy to.
        fewer_blocks: whether `target` may lack the top blocks, as a model of
            `build_features` with a lower layer does.
    Returns: the names of the target's layers that are not copied: heads that
        `source` lacks or has with another shape.
    Raises: ValueError, naming the layer, if the encoders differ in shape;
        nothing is copied then.
    """
    theirs = {layer.name: layer for layer in source.layers if layer.weights}
    ours = {layer.name: layer for layer in target.layers if layer.weights}
    kept = []
    for name in {**ours, **theirs}:
        needed = _describe_variables(ours.get(name))
        found = _describe_variables(theirs.get(name))
        if needed == found or (fewer_blocks and name not in ours):
            continue
        if _ENCODER_LAYER.fullmatch(name):
            raise ValueError(
                f"The encoder to start from does not fit: its layer {name} "
                f"has {_difference(found, needed)}."
            )
        if name in ours:
            kept.append(name)
    for name, layer in ours.items():
        if name not in kept:
            layer.set_weights(theirs[name].get_weights())
    return kept


def check_replaceable(folder: str | os.PathLike) -> None:
    """Checks that `save` may write to a folder.

    Raises: ValueError, naming a file that must not be replaced; OSError.
    """
    folder = atomic_files.folder_path(folder)
    if not folder.exists():
        return
    present = {entry.name for entry in folder.iterdir()}
    other = sorted(
        name for name in present - set(_FILES) if not _LICENCE.fullmatch(name)
    )
    if other:
        raise ValueError(
            f"{folder}: has {other[0]}, which is not part of a kbert model; "
            "only an empty folder or a model is replaced."
        )
    if present and _TASK not in present:
        raise ValueError(
            f"{folder}: neither empty nor a kbert model: no {_TASK}."
        )


@contextlib.contextmanager
def _without_optimizer(model: keras.Model) -> Iterator[None]:
    """Hides the optimizer, whose slots Keras would save too."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        yield
        return
    model.optimizer = None
    try:
        yield
    finally:
        model.optimizer = optimizer


def _check_parts(config, vocabulary, spec):
    if len(vocabulary) > config.vocab_size:
        raise ValueError(
            f"{VOCABULARY_FILE} has {len(vocabulary)} tokens, but {_CONFIG} "
            f"has vocab_size {config.vocab_size}."
        )
    if vocabulary.lower_case != config.lower_case:
        raise ValueError(
            f"{CASING_FILE} has lower_case {vocabulary.lower_case}, but "
            f"{_CONFIG} has {config.lower_case}."
        )
    if spec.max_seq_length > config.max_position_embeddings:
        raise ValueError(
            f"{_TASK} has max_seq_length {spec.max_seq_length}, but {_CONFIG} "
            f"has max_position_embeddings {config.max_position_embeddings}."
        )


def _check_files(folder):
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise ValueError(f"{folder}: {found}; needs a kbert model folder.")
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if _TASK in missing:
        foreign = [p.name for glob in _FOREIGN for p in folder.glob(glob)]
        if foreign:
            raise ValueError(
                f"{folder} is not a kbert model folder but another "
                f"library's: it has {', '.join(sorted(set(foreign)))}; use "
                "kbert-convert."
            )
    if missing:
        raise ValueError(
            f"{folder} is not a kbert model folder: no {', '.join(missing)}."
        )
    for name in _FILES:
        check_regular(folder / name)


def _read_spec(path):
    fields = json_files.read(path)
    version = fields.pop("format_version", None)
    if type(version) is not int or version != FORMAT_VERSION:
        raise ValueError(
            f"{path}: format_version is {json_files.shown(version)}; this "
            f"kbert reads {FORMAT_VERSION}."
        )
    fields = json_files.check(fields, TaskSpec, path)
    labels = fields.pop("labels", [])
    try:
        return TaskSpec(labels=tuple(labels), **fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_sums(folder):
    # The weights come first: older versions of kbert read only the first sum.
    names = (_WEIGHTS, *(x for x in _SUMMED if x != _WEIGHTS))
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in names]
    (folder / _CHECKSUM).write_text("".join(lines), encoding="utf-8")


def _check_sums(folder):
    """Compares the files with their checksums, if they have one."""
    path = folder / _CHECKSUM
    sums = {}
    text = path.read_bytes().decode("utf-8", "replace")
    for line in text.removesuffix("\n").split("\n"):
        digest, _, name = line.partition(" ")
        sums[name.lstrip(" *") or _WEIGHTS] = digest
    if unknown := sums.keys() - set(_SUMMED):
        raise ValueError(
            f"{path}: damaged: has {min(unknown)!r}; needs "
            f"{', '.join(_SUMMED)}."
        )
    for name, expected in {_WEIGHTS: "no sum", **sums}.items():
        found = _sha256(folder / name)
        if expected != found:
            raise ValueError(
                f"{folder / name}: damaged or exchanged: its sha256 is "
                f"{found}, but {_CHECKSUM} has {expected}."
            )


def _read_variables(path):
    with h5py.File(path) as file:
        found = file.get(_VARIABLES)
        is_list = isinstance(found, h5py.Dataset) and found.ndim == 1
        if not is_list or not h5py.check_string_dtype(found.dtype):
            raise ValueError(f"no list {_VARIABLES}: not written by kbert.")
        return [line.decode() for line in found]


def _check_variables(path, found, model):
    needed = _describe_variables(model)
    if found != needed:
        raise ValueError(
            f"{path}: does not fit {_CONFIG} and {_TASK}: it has "
            f"{_difference(found, needed)}."
        )


def _describe_variables(layer: keras.Layer | None) -> list[str]:
    """Returns path and shape of each weight, such as "pooler/bias (16,)"."""
    if layer is None:
        return []
    return [f"{v.path} {tuple(v.shape)}" for v in layer.weights]


def _difference(found: list[str], needed: list[str]) -> str:
    """Describes the first difference of two lists of variables."""
    i = 0
    while found[i : i + 1] == needed[i : i + 1]:
        i += 1
    one, other = found[i : i + 1], needed[i : i + 1]
    return f"{''.join(one) or 'no more'}; needs {''.join(other) or 'none'}"
