# SPDX-License-Identifier: Apache-2.0
"""PyTorch's tensors on disk: safetensors, pickles, and either in shards."""

import functools
import pathlib
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes  # noqa: F401  teaches numpy, and so safetensors, bfloat16
import numpy as np
import safetensors

from kbert import json_files

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
_INDEX = ".index.json"  # of shards: which file holds which tensor

_FLOATS = ("F64", "F32", "F16", "BF16")

Tensors = Mapping[str, Callable[[], np.ndarray]]


def open_folder(folder: pathlib.Path) -> tuple[pathlib.Path, Tensors]:
    """Finds a folder's weights; safetensors first, whole files first.

    A pickle is read by PyTorch's `weights_only` reader, which makes tensors
    and plain values but runs no code.

    Returns: the file, for messages, and a function for each tensor by its
        name, which reads it.
    Raises: ValueError, naming the file, if there are no weights, if they are
        damaged, or if they are a pickle and PyTorch is not installed;
        OSError. Reading a tensor of integers is a ValueError too.
    """
    for name, reader in ((SAFETENSORS, _safetensors), (PICKLE, _pickle)):
        if (folder / name).is_file():
            return folder / name, reader(folder / name)
        index = folder / (name + _INDEX)
        if index.is_file():
            return index, _shards(index, reader)
    others = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.suffix in (".safetensors", ".bin", ".pt", ".h5", ".msgpack")
    )
    raise ValueError(
        f"{folder}: no {SAFETENSORS} and no {PICKLE}, whole or in shards; "
        f"found {', '.join(others) or 'no weights'}."
    )


def _shards(index, reader) -> Tensors:
    files = json_files.read(index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{index}: no weight_map of tensors to files.")
    opened: dict[str, Tensors] = {}
    tensors = {}
    for name, file in files.items():
        if not isinstance(file, str) or pathlib.PurePath(file).name != file:
            raise ValueError(
                f"{index}: {name} is in {file!r}; wanted the name of a file "
                "beside it."
            )
        if file not in opened:
            opened[file] = reader(index.parent / file)
        if name not in opened[file]:
            raise ValueError(
                f"{index.parent / file}: no tensor {name}, which {index.name} "
                "says is there."
            )
        tensors[name] = opened[file][name]
    for found in opened.values():  # also what the index does not list
        tensors = {**found, **tensors}
    return tensors


def _safetensors(path) -> Tensors:
    try:
        file = safetensors.safe_open(path, "numpy")
        names = list(file.keys())
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: not a whole safetensors file: {error}."
        ) from None
    return {name: functools.partial(_read, file, name, path) for name in names}


def _read(file: Any, name, path):
    dtype = file.get_slice(name).get_dtype()
    if dtype not in _FLOATS:
        raise ValueError(
            f"{path}: {name} is of type {dtype}; wanted one of "
            f"{', '.join(_FLOATS)}."
        )
    return file.get_tensor(name)


def _pickle(path) -> Tensors:
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path}: a pickle, which only PyTorch reads without running "
            "code in it: pip install 'kbert[torch]'."
        ) from None
    with open(path, "rb") as file:
        try:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # Around the reason stands advice on how to trust the file.
            reason = str(error).partition("WeightsUnpickler error:")[2]
            reason = reason.partition("Please use")[0].strip()
            raise ValueError(
                f"{path}: refused: damaged, or holds more than tensors: "
                f"{_first_line(reason or error)}"
            ) from None
        except Exception as error:  # whatever the damaged bytes lead to
            raise ValueError(
                f"{path}: not a whole PyTorch file: {type(error).__name__} "
                f"{_first_line(error)}"
            ) from None
    if not isinstance(tensors, dict) or not tensors:
        raise ValueError(f"{path}: wanted a dict of tensors by their names.")
    return {
        str(name): functools.partial(_to_numpy, tensor, name, path)
        for name, tensor in tensors.items()
    }


def _first_line(message: object) -> str:
    lines = str(message).strip().splitlines()
    return lines[0] if lines else "without a word"


def _to_numpy(tensor: Any, name, path):
    import torch

    if (
        not isinstance(tensor, torch.Tensor)
        or not tensor.is_floating_point()
        or tensor.layout != torch.strided
        or tensor.device.type != "cpu"  # "meta": a shape without numbers
    ):
        found = getattr(tensor, "dtype", type(tensor).__name__)
        raise ValueError(
            f"{path}: {name} is of type {found}; wanted floating-point "
            "numbers, none left out."
        )
    if tensor.dtype == torch.bfloat16:  # numpy has none
        tensor = tensor.to(torch.float32)
    return tensor.detach().numpy()
