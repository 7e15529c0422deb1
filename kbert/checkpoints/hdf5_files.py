# SPDX-License-Identifier: Apache-2.0
"""Checks Keras's HDF5 weight files before Keras reads or writes them."""

import contextlib
import math
import os
import pathlib
from collections.abc import Iterator

import h5py
import keras

from kbert.input_files import check_regular

# Upper limits of HDF5's overhead, in bytes.
_ARRAY_OVERHEAD, _FILE_OVERHEAD = 4096, 2**16


@contextlib.contextmanager
def explain_damage(file: str | os.PathLike, of: str) -> Iterator[None]:
    """Converts errors while a file is read to a ValueError of one line.

    Args:
        file: the file that is read.
        of: the source of the model, such as "config.json", for the message.
    """
    check_regular(file)
    try:
        yield
    # h5py and Keras raise many kinds of errors for damaged files.
    except Exception as error:
        reason = " ".join(str(error).partition("\n")[0].split())
        reason = reason.removeprefix(f"{os.fspath(file)}: ")
        reason = reason or type(error).__name__
        raise ValueError(
            f"{os.fspath(file)}: damaged, or not the weights of {of}: {reason}"
        ) from None


def check_room(file: pathlib.Path, model: keras.Model) -> None:
    """Checks that a disk has room for weights: HDF5 can crash on a full disk.

    Args:
        file: the file to be written, which does not exist yet.
        model: the model.
    Raises: OSError, naming the file.
    """
    numbers = sum(math.prod(weight.shape) for weight in model.weights)
    size = 4 * numbers + len(model.weights) * _ARRAY_OVERHEAD + _FILE_OVERHEAD
    try:
        with file.open("xb") as probe:
            os.posix_fallocate(probe.fileno(), 0, size)
    except OSError as error:
        error.filename = os.fspath(file)
        raise
    finally:
        file.unlink(missing_ok=True)


def count_numbers(file: pathlib.Path) -> int:
    """Counts the elements of all arrays except an optimizer's.

    Raises: ValueError, naming the array, if one is not stored as Keras stores
        it: complete, not compressed, and in the same file. Otherwise a tiny
        file could allocate any amount of memory, or read other files.
    """
    sizes: dict[str, int] = {}
    stored = 0

    def find_link(name, link):  # a result other than None ends the visit
        return None if isinstance(link, h5py.HardLink) else name

    def check_array(name, item):
        nonlocal stored
        if not isinstance(item, h5py.Dataset) or item.size is None:
            return
        if item.external or item.is_virtual:
            raise ValueError(f"{name} is in another file.")
        found, needed = item.id.get_storage_size(), item.nbytes
        if found < needed:
            raise ValueError(
                f"{name} has the shape {item.shape} and needs {needed:,} "
                f"bytes; the file has {found:,}."
            )
        stored += found
        sizes[name] = int(item.size)

    with h5py.File(file) as archive:
        if link := archive.visititems_links(find_link):
            raise ValueError(f"{link} is a link, which kbert does not follow.")
        archive.visititems(check_array)
    total = os.path.getsize(file)
    if stored > total:
        raise ValueError(f"arrays of {stored:,} bytes in a file of {total:,}.")
    return sum(
        size
        for name, size in sizes.items()
        if not name.startswith("optimizer/")
    )
