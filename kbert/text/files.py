# SPDX-License-Identifier: Apache-2.0
"""Finds text files and reads them line by line, as UTF-8 and nothing else."""

import glob
import os
from collections.abc import Iterator


def expand(patterns: str) -> list[str]:
    """Lists the files that a comma-separated list of paths and globs names.

    Example: expand("notes.txt,books/**/*.txt"); `**` goes down folders.

    Returns: the paths, sorted, each once; folders are left out.
    Raises: ValueError, naming the pattern that matches no file.
    """
    found = set()
    for pattern in patterns.split(","):
        if os.path.isfile(pattern):  # also when its name holds a "[" or "*"
            matches = [pattern]
        else:
            matches = glob.glob(pattern, recursive=True)
            matches = [path for path in matches if os.path.isfile(path)]
        if not matches:
            raise ValueError(f"No file matches {pattern!r}.")
        found.update(matches)
    return sorted(found)


def read_lines(path: str | os.PathLike) -> Iterator[str]:
    r"""Yields a file's lines without their newline (\n or \r\n).

    Holds one line at a time in memory. A byte order mark at the start of the
    file is skipped. Only \n ends a line: U+2028 and the like are text.

    Raises: OSError if the file cannot be opened; ValueError, naming file and
        line, at the first line that is not UTF-8.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise not_utf8(path, number, error) from error
            yield text.removesuffix("\n").removesuffix("\r")


def not_utf8(
    path: str | os.PathLike, line: int, error: UnicodeDecodeError
) -> ValueError:
    """What to raise where a line, counted from 1, cannot be decoded."""
    return ValueError(
        f"{os.fspath(path)}:{line}: not UTF-8: byte "
        f"0x{error.object[error.start]:02x} at column {error.start + 1}. "
        "Convert the file to UTF-8."
    )
