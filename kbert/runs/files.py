# SPDX-License-Identifier: Apache-2.0
"""Whole files, folders of one process, and what is in a file."""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes beside the file, then renames: it is never seen half done."""
    path = pathlib.Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes JSON by `write_text`; numbers that are not finite become null."""
    write_text(path, json.dumps(_finite(value), indent=2) + "\n")


def _finite(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(x) for x in value]
    return value


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Makes an output folder, and keeps it to this process.

    Raises: ValueError, naming --output_dir, if another has it; OSError.
    """
    path = pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    # The lock goes with the process, however it ends; the file stays.
    with (path / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"--output_dir={folder}: another run is at work there; wait "
                "for its end, or give another folder."
            ) from None
        yield path


def fingerprint(paths: Iterable[str | os.PathLike], reading: object) -> str:
    """A name that files share with others only if their bytes are the same.

    Args:
        paths: the files.
        reading: how they are read, whose `repr` counts too.
    """
    digest = hashlib.sha256(repr(reading).encode())
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
