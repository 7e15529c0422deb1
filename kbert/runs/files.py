# SPDX-License-Identifier: Apache-2.0
"""Writes results as whole files."""

import os
import pathlib


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes beside the file, then renames: it is never seen half done."""
    path = pathlib.Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
