# SPDX-License-Identifier: Apache-2.0
"""Finds text files and reads them line by line, strictly in one encoding."""

import codecs
import contextlib
import glob
import gzip
import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from kbert.input_files import check_regular


def expand(patterns: str) -> list[str]:
    """Lists the files that a comma-separated list of paths and globs names.

    Example: expand("notes.txt,books/**/*.txt"); `**` goes down folders.

    Returns: the paths, sorted, each once; folders are left out.
    Raises: ValueError, naming the pattern that matches no file, or the path
        that matches and is neither a file nor a folder (a FIFO, a device, a
        link to nothing), so that no part of the data is left out silently.
    """
    found = set()
    for pattern in patterns.split(","):
        if os.path.isfile(pattern):  # also when its name holds a "[" or "*"
            matches = [pattern]
        else:
            matches = glob.glob(pattern, recursive=True)
            matches = [path for path in matches if _is_file(path)]
        if not matches:
            raise ValueError(f"No file matches {pattern!r}.")
        found.update(matches)
    return sorted(found)


def _is_file(path):
    if os.path.isdir(path):
        return False
    try:
        check_regular(path)
    except OSError as error:
        raise ValueError(
            f"{path}: a link that leads to no file ({error.strerror}); needs "
            "a regular file."
        ) from None
    return True


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to read bytes from; one called NAME.gz is unzipped.

    Raises: OSError; ValueError, naming the file, for what is no regular file,
        and for a damaged one, then or while it is read.
    """
    check_regular(path)
    open_file = gzip.open if os.fspath(path).lower().endswith(".gz") else open
    try:
        with open_file(path, "rb") as file:
            yield cast(BinaryIO, file)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{os.fspath(path)}: damaged: {error}.") from None


def read_lines(
    path: str | os.PathLike,
    encoding: str | None = None,
    keep_ends: bool = False,
) -> Iterator[str]:
    r"""Yields a file's lines without their newline (\n or \r\n).

    Holds one line at a time in memory. A UTF-8 byte order mark at the start
    of the file is skipped. Only \n ends a line: U+2028 and the like are text.
    A file NAME.gz is unzipped.

    Args:
        path: the file.
        encoding: a name that Python knows, of one in which the byte 0x0a is
            a newline and nothing else; None for UTF-8 and no other, which
            errors then do not speak of.
        keep_ends: whether lines keep their newline.
    Raises: OSError if the file cannot be opened; ValueError, naming file and
        line, at the first line that is not of the encoding, or if there is
        no such.
    """
    given, encoding = encoding, encoding or "utf-8"
    try:
        wide = "\n".encode(encoding) != b"\n"
    except LookupError:
        wide = True
    if wide:
        raise ValueError(
            f"{path}: encoding {encoding!r}; wanted utf-8, latin-1 or another "
            "whose newline is one byte."
        )
    is_utf8 = codecs.lookup(encoding).name == "utf-8"
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            first = is_utf8 and number == 1
            try:
                text = line.decode("utf-8-sig" if first else encoding)
            except UnicodeDecodeError as error:
                raise undecodable(path, number, error, given) from error
            if not keep_ends:
                text = text.removesuffix("\n").removesuffix("\r")
            yield text


def undecodable(
    path: str | os.PathLike,
    line: int,
    error: UnicodeDecodeError,
    encoding: str | None = None,
) -> ValueError:
    """What to raise where a line, counted from 1, cannot be decoded.

    The encoding is None where UTF-8 was the only choice.
    """
    name = (encoding or "utf-8").upper()
    or_say = ", or name its encoding with --encoding" if encoding else ""
    return ValueError(
        f"{os.fspath(path)}:{line}: not {name}: byte "
        f"0x{error.object[error.start]:02x} at column {error.start + 1}. "
        f"Convert the file to UTF-8{or_say}."
    )
