# SPDX-License-Identifier: Apache-2.0
"""Checks input files: regular files, and inside their folder."""

import os
import pathlib
import stat

_KINDS = {
    stat.S_IFIFO: "a FIFO (a pipe)",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_POINTER, _LONGEST_POINTER = b"version https://git-lfs.github.com/spec/v1", 1024


def check_regular(path: str | os.PathLike) -> int:
    """Checks that a path leads to a regular file, before it is opened.

    A pipe or a device can block forever or never end, and kbert reads most
    inputs more than once. So the shell's `<(command)` and a /dev/stdin that is
    a pipe are refused; a /dev/stdin that is a file is accepted.

    Returns: the size in bytes.
    Raises: ValueError, naming the path and what it is, also for a Git LFS
        pointer; OSError, naming the path, if it does not exist.
    """
    found = os.stat(path)
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise ValueError(
            f"{os.fspath(path)}: {_KINDS.get(kind, 'a special file')}; needs "
            "a regular file."
        )
    if found.st_size < _LONGEST_POINTER:
        with open(path, "rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise ValueError(
                    f"{os.fspath(path)}: is a Git LFS pointer, not the file "
                    "itself; run git lfs pull."
                )
    return found.st_size


def check_inside(path: str | os.PathLike) -> int:
    """Checks that a file to be copied is inside its folder.

    A link out of the folder could copy any file of the machine. In a Hugging
    Face cache, `snapshots/<revision>/NAME` may be a link to `blobs/<hash>` of
    the same repository.

    Returns: the size in bytes.
    Raises: ValueError, naming the path and where it leads, or as
        `check_regular` raises; OSError.
    """
    path = pathlib.Path(path)
    folder = pathlib.Path(os.path.realpath(path.parent))
    target = pathlib.Path(os.path.realpath(path))
    is_cached = folder.parent.name == "snapshots" and (
        target.parent == folder.parent.parent / "blobs"
    )
    if not target.is_relative_to(folder) and not is_cached:
        raise ValueError(
            f"{path}: a link to {target}, outside its folder; needs a file in "
            "the folder, as it is copied."
        )
    return check_regular(path)
