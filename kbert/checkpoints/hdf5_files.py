# SPDX-License-Identifier: Apache-2.0
"""Keras's HDF5 files of weights, before Keras reads or writes them."""

import contextlib
import math
import os
import pathlib
from collections.abc import Iterator

import h5py
import keras

from kbert.input_files import check_regular

# Bytes, more than HDF5 writes beside the numbers.
_ABOUT_AN_ARRAY, _ABOUT_A_FILE = 4096, 2**16


@contextlib.contextmanager
def explain_damage(file: str | os.PathLike, of: str) -> Iterator[None]:
    """Wrap it around reading: damage becomes a ValueError of one line.

    Args:
        file: what is read.
        of: what the weights should be those of, such as "config.json".
    """
    check_regular(file)
    try:
        yield
    # What h5py and Keras raise for damaged files is hard to tell.
    except Exception as error:
        reason = " ".join(str(error).partition("\n")[0].split())
        reason = reason.removeprefix(f"{os.fspath(file)}: ")
        reason = reason or type(error).__name__
        raise ValueError(
            f"{os.fspath(file)}: damaged, or not the weights of {of}: {reason}"
        ) from None


def check_room(file: pathlib.Path, model: keras.Model) -> None:
    """Sees that a disk has room for weights: HDF5 can crash where it is full.

    Args:
        file: that is to be written, not there yet.
        model: with the weights.
    Raises: OSError, naming the file.
    """
    numbers = sum(math.prod(weight.shape) for weight in model.weights)
    size = 4 * numbers + len(model.weights) * _ABOUT_AN_ARRAY + _ABOUT_A_FILE
    try:
        with file.open("xb") as probe:
            os.posix_fallocate(probe.fileno(), 0, size)
    except OSError as error:
        error.filename = os.fspath(file)
        raise
    finally:
        file.unlink(missing_ok=True)


def count_numbers(file: pathlib.Path) -> int:
    """The elements of all arrays in an HDF5 file but an optimizer's.

    Raises: ValueError, naming the array, if one is not stored in the file as
        Keras stores it: whole, not compressed, and not elsewhere. A file of a
        few bytes can otherwise ask for any memory, and read other files.
    """
    sizes: dict[str, int] = {}
    stored = 0

    def find_link(name, link):  # what it returns ends the visit
        return None if isinstance(link, h5py.HardLink) else name

    def check_array(name, item):
        nonlocal stored
        if not isinstance(item, h5py.Dataset) or item.size is None:
            return
        if item.external or item.is_virtual:
            raise ValueError(f"{name} lies in another file.")
        found, needed = item.id.get_storage_size(), item.nbytes
        if found < needed:
            raise ValueError(
                f"{name} has the shape {item.shape}, {needed:,} bytes, of "
                f"which the file has {found:,}."
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
