# SPDX-License-Identifier: Apache-2.0
"""The files that kbert is given: regular files, and what else lies there."""

import os
import stat

_KINDS = {
    stat.S_IFIFO: "a FIFO (a pipe)",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def check_regular(path: str | os.PathLike) -> int:
    """Sees that a path leads to a regular file, before it is opened.

    A pipe or a device can block for ever or give bytes without end, and
    kbert reads most inputs more than once. So the shell's `<(command)` and a
    /dev/stdin that is a pipe are refused; /dev/stdin from a file is one.

    Returns: its size in bytes.
    Raises: ValueError, naming the path and what is there; OSError, naming it,
        if there is nothing.
    """
    found = os.stat(path)
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise ValueError(
            f"{os.fspath(path)}: {_KINDS.get(kind, 'a special file')}; needs "
            "a regular file."
        )
    return found.st_size
