# SPDX-License-Identifier: Apache-2.0
"""Finds text files and reads them line by line, in one encoding."""

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
    """Lists the files that match a comma-separated list of paths and globs.

    Example: expand("notes.txt,books/**/*.txt"); `**` matches folders of any
    depth.

    Returns: the paths, sorted and without duplicates or folders.
    Raises: ValueError, naming the pattern, if it matches no file, or naming
        the path, if it is neither a file nor a folder (a FIFO, a device, a
        broken link): no data is skipped silently.
    """
    found = set()
    for pattern in patterns.split(","):
        if os.path.isfile(pattern):  # its name may contain "[" or "*"
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
            f"{path}: a broken link ({error.strerror}); needs a regular file."
        ) from None
    return True


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a file to read bytes from; a NAME.gz is decompressed.

    Raises: OSError; ValueError, naming the file, if it is not a regular file,
        or if it turns out to be damaged, now or while it is read.
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
    r"""Yields the lines of a file without their newline (\n or \r\n).

    Keeps one line at a time in memory. A UTF-8 byte order mark at the start
    of the file is skipped. Only \n ends a line: U+2028 and the like are text.
    A file NAME.gz is decompressed.

    Args:
        path: the file.
        encoding: Python's name of an encoding whose newline is the byte 0x0a;
            None if UTF-8 is the only choice, so that errors do not mention
            --encoding.
        keep_ends: whether lines keep their newline.
    Raises: OSError if the file cannot be opened; ValueError, naming file and
        line, if a line cannot be decoded, or if the encoding is unsuitable.
    """
    given, encoding = encoding, encoding or "utf-8"
    try:
        wide = "\n".encode(encoding) != b"\n"
    except LookupError:
        wide = True
    if wide:
        raise ValueError(
            f"{path}: encoding {encoding!r}; needs utf-8, latin-1 or another "
            "whose newline is one byte."
        )
    is_utf8 = codecs.lookup(encoding).name == "utf-8"
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            first = is_utf8 and number == 1
            try:
                text = line.decode("utf-8-sig" if first else encoding)
            except UnicodeDecodeError as error:
                raise decode_error(path, number, error, given) from error
            if not keep_ends:
                text = text.removesuffix("\n").removesuffix("\r")
            yield text


def decode_error(
    path: str | os.PathLike,
    line: int,
    error: UnicodeDecodeError,
    encoding: str | None = None,
) -> ValueError:
    """Returns the error for a line that cannot be decoded.

    Args:
        path: the file.
        line: the line's number, from 1.
        error: Python's error.
        encoding: the encoding, or None if UTF-8 is the only choice.
    """
    name = (encoding or "utf-8").upper()
    or_flag = ", or name its encoding with --encoding" if encoding else ""
    return ValueError(
        f"{os.fspath(path)}:{line}: not {name}: byte "
        f"0x{error.object[error.start]:02x} at column {error.start + 1}. "
        f"Convert the file to UTF-8{or_flag}."
    )
