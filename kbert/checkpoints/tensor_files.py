# SPDX-License-Identifier: Apache-2.0
"""Reads PyTorch's weight files: safetensors or pickles, also in shards."""

import collections
import functools
import os
import pathlib
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes  # noqa: F401  teaches numpy, and so safetensors, bfloat16
import numpy as np
import safetensors

from kbert import json_files
from kbert.input_files import check_regular

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
_INDEX = ".index.json"  # of shards: the file of each tensor

_FLOATS = ("F64", "F32", "F16", "BF16")

Tensors = Mapping[str, Callable[[], np.ndarray]]


def open_folder(folder: pathlib.Path) -> tuple[pathlib.Path, Tensors]:
    """Finds the weights of a folder; prefers safetensors, then single files.

    A pickle is read with PyTorch's `weights_only`, which creates tensors and
    plain values but runs no code.

    Returns: the file, for messages, and functions that read the tensors, by
        name; they raise ValueError for a tensor of integers.
    Raises: ValueError, naming the file, if there are no weights, if they are
        damaged, or if they are a pickle and PyTorch is not installed;
        OSError.
    """
    for name, reader in ((SAFETENSORS, _safetensors), (PICKLE, _pickle)):
        if os.path.lexists(folder / name):
            return folder / name, reader(folder / name)
        index = folder / (name + _INDEX)
        if os.path.lexists(index):
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
                f"{index}: {name} is in {file!r}; needs the name of a file in "
                "the same folder."
            )
        if file not in opened:
            opened[file] = reader(index.parent / file)
        if name not in opened[file]:
            raise ValueError(
                f"{index.parent / file}: no tensor {name}, which {index.name} "
                "lists."
            )
        tensors[name] = opened[file][name]
    for found in opened.values():  # also tensors that the index does not list
        tensors = {**found, **tensors}
    return tensors


def _safetensors(path) -> Tensors:
    check_regular(path)
    try:
        file = safetensors.safe_open(path, "numpy")
        names = list(file.keys())
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: not a complete safetensors file: {error}."
        ) from None
    return {name: functools.partial(_read, file, name, path) for name in names}


def _read(file: Any, name, path):
    dtype = file.get_slice(name).get_dtype()
    if dtype not in _FLOATS:
        raise ValueError(
            f"{path}: {name} is of type {dtype}; needs one of "
            f"{', '.join(_FLOATS)}."
        )
    return file.get_tensor(name)


def _pickle(path) -> Tensors:
    check_regular(path)
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path}: a pickle, which only PyTorch can read without running "
            "its code: pip install 'kbert-keras[torch]'."
        ) from None
    records = _records(path)
    with open(path, "rb") as file:
        try:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{path}: refused: damaged, or has more than tensors"
                f"{_requested_object(error)}."
            ) from None
        except Exception as error:  # damaged bytes can lead to any error
            raise ValueError(
                f"{path}: not a complete PyTorch file: {type(error).__name__}."
            ) from None
    if not isinstance(tensors, dict) or not tensors:
        raise ValueError(f"{path}: needs a dict of tensors by their names.")
    if records is not None:
        _check_storages(path, tensors.values(), records)
    return {
        str(name): functools.partial(_to_numpy, tensor, name, path)
        for name, tensor in tensors.items()
    }


def _requested_object(error) -> str:
    """Returns the class or function that a pickle uses, for the message.

    The rest of torch's message explains how to run the file's code anyway.
    """
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f": uses {found[1]}" if found else ""


def _records(path) -> list[int] | None:
    """Returns the sizes of a zip's records, None for PyTorch's older format.

    Raises: ValueError if a record is compressed: PyTorch writes none, and it
        could have any size.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"{path}: not a complete PyTorch file: {error}."
        ) from None
    total = path.stat().st_size
    if any(
        record.compress_type != zipfile.ZIP_STORED for record in records
    ) or total < sum(record.file_size for record in records):
        raise ValueError(f"{path}: compressed records; needs plain ones.")
    return [record.file_size for record in records]


def _check_storages(path, tensors, records) -> None:
    """Checks that each storage is as long as a record, as PyTorch does not.

    A longer one would be read out of bounds.
    """
    import torch

    storages = {}
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor) and _is_plain(tensor):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    found = collections.Counter(storages.values())
    too_many = found - collections.Counter(records)
    too_many.pop(0, None)
    if too_many:
        size = max(too_many)
        raise ValueError(
            f"{path}: a tensor of {size:,} bytes has no record of that size."
        )


def _is_plain(tensor: Any) -> bool:
    import torch

    # Not sparse, and not on the device "meta", which has no numbers.
    return tensor.layout == torch.strided and tensor.device.type == "cpu"


def _to_numpy(tensor: Any, name, path):
    import torch

    if (
        not isinstance(tensor, torch.Tensor)
        or not tensor.is_floating_point()
        or not _is_plain(tensor)
    ):
        found = getattr(tensor, "dtype", type(tensor).__name__)
        raise ValueError(
            f"{path}: {name} is of type {found}; needs floating-point "
            "numbers, dense and in memory."
        )
    if tensor.dtype == torch.bfloat16:  # NumPy does not have it
        tensor = tensor.to(torch.float32)
    return tensor.detach().numpy()
