# SPDX-License-Identifier: Apache-2.0
"""JSON files of a run, and what is in a file."""

import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from kbert import atomic_files
from kbert.input_files import check_regular


class Named(TypedDict):
    """A file or a folder by its own name and its content."""

    name: str
    fingerprint: str


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes JSON; numbers that are not finite become null."""
    atomic_files.write_text(path, json.dumps(_finite(value), indent=2) + "\n")


def _finite(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(x) for x in value]
    return value


def named_file(path: str | os.PathLike) -> Named:
    """A file's own name and its SHA-256.

    Raises: ValueError, naming it, for what is no regular file; OSError.
    """
    check_regular(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return {"name": pathlib.Path(path).name, "fingerprint": digest.hexdigest()}


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
