# SPDX-License-Identifier: Apache-2.0
"""kbert's model folder: everything that a trained model needs.

    bert_config.json         BertConfig
    vocab.txt, vocab.json    Vocabulary
    task.json                format_version and the fields of TaskSpec
    model.weights.h5         as `keras.Model.save_weights` writes it, and a
                             list of the variables' paths and shapes
    model.weights.h5.sha256  checksums of these files, as `sha256sum -c` takes
                             them; before kbert checked them all, of the
                             weights alone
    LICENSE and the like     of the weights, where they came from elsewhere

Keras addresses a variable in the file by its layer's class and its place
among the layers of that class. So the layers' automatic names do not matter,
but two variables of one shape would change places unnoticed if the code that
builds the model did. Hence the list, which `load` compares. And HDF5 reads
some damaged files without an error, hence the checksum.
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
_VARIABLES = "kbert_variables"  # in the HDF5 file, beside what Keras writes

# What other libraries' folders hold: Hugging Face's, google-research/bert's,
# KerasHub's presets, saved models.
_FOREIGN = (
    *("config.json", "modules.json", "metadata.json", "saved_model.pb"),
    *("*.safetensors", "*.bin", "*.ckpt*", "*.keras"),
)

# The layers of kbert.models.encoder without the pooler, which not all models
# have; all others are heads.
_ENCODER_LAYER = re.compile(r"token_embedding|embeddings|block_\d+")

_MAX_LICENCE_BYTES = 16 * 2**20  # a PDF's; text has some thousands
_LICENCE = re.compile(
    r"(model[-_])?(licen[cs]e|copying|notice)[\w-]*"
    r"(\.(txt|md|rst|html|pdf))?",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model and what belongs to it."""

    model: keras.Model
    config: BertConfig
    vocabulary: Vocabulary
    spec: TaskSpec
    # Of the weights, by file name, if there are any.
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
    """Writes a model folder, complete or not at all.

    A kbert model of that name is replaced.

    Raises: ValueError if a folder of that name holds anything else, or if
        the parts do not belong together; OSError.
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
        fields = {
            "format_version": FORMAT_VERSION,
            **dataclasses.asdict(spec),
        }
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

    Raises: ValueError, naming the file, what was found and what was wanted;
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
    check_size(config, num_weights, where=weights)
    model = tasks.build(config, spec)
    _check_variables(weights, variables, model)
    with explain_damage(weights, f"{_CONFIG} and {_TASK}"):
        model.load_weights(weights)
    return LoadedModel(model, config, vocabulary, spec, read_licences(folder))


def read_config(folder: str | os.PathLike) -> BertConfig:
    """The config of a model folder alone.

    Raises: ValueError, naming the file and the field; OSError.
    """
    return BertConfig.from_json(pathlib.Path(folder) / _CONFIG)


def fingerprint(folder: str | os.PathLike) -> str:
    """Tells a model from all others: of its files, the weights by their sum.

    Raises: OSError if one of them is missing.
    """
    digest = hashlib.sha256()
    for name in _FILES:
        if name != _WEIGHTS:
            content = (pathlib.Path(folder) / name).read_bytes()
            digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def check_size(
    config: BertConfig, num_weights: int, *, where: str | os.PathLike
) -> None:
    """Sees that a config is not far larger than the weights in a file.

    Before the model is made, as it could ask for any memory; a difference
    below a factor of two is left to what compares variable by variable.

    Raises: ValueError, naming `where`.
    """
    if config.num_encoder_weights > 2 * num_weights:
        raise ValueError(
            f"{where}: holds {num_weights:,} weights; the encoder of the "
            f"config alone has {config.num_encoder_weights:,}."
        )


def read_licences(folder: str | os.PathLike) -> dict[str, bytes]:
    """Licence files by name: LICENSE, LICENSE.txt, COPYING, NOTICE.md, ...

    They go into other folders, which may be published.

    Raises: ValueError, naming the file, if it is a link to another folder's
        (but for the files of a Hugging Face cache, which all are), or is no
        regular file or larger than 16 MB; OSError.
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
    """Starts a model from another one's weights, layer by layer by name.

    Args:
        source: the model that has them.
        target: the model to start.
        fewer_blocks: whether `target` may lack blocks at the top, as one of
            `build_features` does that gives a lower layer.
    Returns: names of the target's layers that keep the weights they have:
        heads that `source` lacks or has in another shape.
    Raises: ValueError, naming the layer, if the encoders differ in shape;
        nothing is copied then.
    """
    theirs = {layer.name: layer for layer in source.layers if layer.weights}
    ours = {layer.name: layer for layer in target.layers if layer.weights}
    kept = []
    for name in {**ours, **theirs}:
        wanted = _describe_variables(ours.get(name))
        found = _describe_variables(theirs.get(name))
        if wanted == found or (fewer_blocks and name not in ours):
            continue
        if _ENCODER_LAYER.fullmatch(name):
            raise ValueError(
                f"The encoder to start from does not fit: its layer {name} "
                f"has {_difference(found, wanted)}."
            )
        if name in ours:
            kept.append(name)
    for name, layer in ours.items():
        if name not in kept:
            layer.set_weights(theirs[name].get_weights())
    return kept


def check_replaceable(folder: str | os.PathLike) -> None:
    """Sees that `save` may write there.

    Raises: ValueError, naming what is in the way; OSError.
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
            f"{folder}: holds {other[0]}, which is not part of a kbert model; "
            "only an empty folder or a model is replaced."
        )
    if present and _TASK not in present:
        raise ValueError(
            f"{folder}: neither empty nor a kbert model: no {_TASK}."
        )


@contextlib.contextmanager
def _without_optimizer(model: keras.Model) -> Iterator[None]:
    """Keras writes the optimizer's slots too, of a model that it compiled."""
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
        raise ValueError(f"{folder}: {found}; wanted a kbert model folder.")
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if _TASK in missing:
        foreign = [p.name for glob in _FOREIGN for p in folder.glob(glob)]
        if foreign:
            raise ValueError(
                f"{folder} is not a kbert model folder but another "
                f"library's: it holds {', '.join(sorted(set(foreign)))}; use "
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
    # The weights come first: a kbert that knows one sum reads the first.
    names = (_WEIGHTS, *(x for x in _SUMMED if x != _WEIGHTS))
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in names]
    (folder / _CHECKSUM).write_text("".join(lines), encoding="utf-8")


def _check_sums(folder):
    """Compares the files with their sums; those without one are not."""
    path = folder / _CHECKSUM
    sums = {}
    text = path.read_bytes().decode("utf-8", "replace")
    for line in text.removesuffix("\n").split("\n"):
        digest, _, name = line.partition(" ")
        sums[name.lstrip(" *") or _WEIGHTS] = digest
    if unknown := sums.keys() - set(_SUMMED):
        raise ValueError(
            f"{path}: damaged: names {min(unknown)!r}; needs "
            f"{', '.join(_SUMMED)}."
        )
    for name, wanted in {_WEIGHTS: "no sum", **sums}.items():
        found = _sha256(folder / name)
        if wanted != found:
            raise ValueError(
                f"{folder / name}: damaged or exchanged: its sha256 is "
                f"{found}, but {_CHECKSUM} says {wanted}."
            )


def _read_variables(path):
    with h5py.File(path) as file:
        found = file.get(_VARIABLES)
        is_list = isinstance(found, h5py.Dataset) and found.ndim == 1
        if not is_list or not h5py.check_string_dtype(found.dtype):
            raise ValueError(f"no list {_VARIABLES}: not written by kbert.")
        return [line.decode() for line in found]


def _check_variables(path, found, model):
    wanted = _describe_variables(model)
    if found != wanted:
        raise ValueError(
            f"{path}: does not fit {_CONFIG} and {_TASK}: it has "
            f"{_difference(found, wanted)}."
        )


def _describe_variables(layer: keras.Layer | None) -> list[str]:
    """Path and shape of each weight, such as "pooler/bias (16,)"."""
    if layer is None:
        return []
    return [f"{v.path} {tuple(v.shape)}" for v in layer.weights]


def _difference(found: list[str], wanted: list[str]) -> str:
    """Tells the first place where two lists of variables differ."""
    at = 0
    while found[at : at + 1] == wanted[at : at + 1]:
        at += 1
    one, other = found[at : at + 1], wanted[at : at + 1]
    return f"{''.join(one) or 'no more'}; wanted {''.join(other) or 'none'}"
