# SPDX-License-Identifier: Apache-2.0
"""Atomic writes of files and folders, locks, and folders to resume.

New content is written to a scratch folder, `.kbert-<random>`, in the same
folder as its final path, and renamed at the end. The writing process holds a
lock on the scratch folder. The system releases the lock when the process ends,
also when it is killed, so the next writer recognizes leftovers and removes
them. A process id would not do: the next process in a container may get the
same one.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pathlib
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Literal

from kbert import json_files

_SCRATCH = re.compile(r"\.kbert-[0-9a-f]{16}")
_SETTINGS = "settings.json"  # in a folder that a run may resume
_OLD = ".old"  # in a scratch folder: has the folder that is being replaced
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # Linux, fcntl.h and fs.h
_DESCRIPTOR = re.compile(r"/proc/(\d+|self)/fd/(\d+)")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text as UTF-8 with `write_bytes`; newlines stay as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file atomically, or writes directly to a FIFO or a terminal.

    Raises: ValueError if the path is a folder, a socket or a disk; OSError.
    """
    if is_stream(path):
        with open_stream(path) as file:
            file.write(content)
        return
    with writing_file(path) as new:
        new.write_bytes(content)


def is_stream(path: str | os.PathLike) -> bool:
    """Returns whether a path is a FIFO, a character device or a descriptor.

    Links are followed: /dev/stdout is a stream even if it leads to a file.
    """
    with contextlib.suppress(OSError):
        mode = os.stat(path).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            return True
    return _descriptor(path) is not None


def open_stream(path: str | os.PathLike) -> BinaryIO:
    """Opens a stream (see `is_stream`) to write; a descriptor keeps its offset.

    Raises: OSError.
    """
    descriptor = _descriptor(path)
    if descriptor is not None:
        return os.fdopen(os.dup(descriptor), "wb")
    return open(path, "wb", opener=lambda p, _: os.open(p, os.O_WRONLY))


def check_file(path: str | os.PathLike) -> None:
    """Checks that a path is free or a regular file.

    Raises: ValueError, naming the path and what it is.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:  # a link to itself, a file as a parent folder
        raise ValueError(
            f"{path}: {error.strerror}; needs a file to write to."
        ) from None
    if stat.S_ISREG(mode) and _descriptor(path) is None:
        return
    kind = "an open file" if stat.S_ISREG(mode) else _kind(mode)
    raise ValueError(f"{path}: {kind}; needs a file to write to.")


def folder_path(path: str | os.PathLike) -> pathlib.Path:
    """Returns the absolute path of a folder to write to, without links.

    Raises: ValueError if the path or one of its parents is not a folder.
    """
    real = pathlib.Path(os.path.realpath(path))
    found = next(x for x in (real, *real.parents) if os.path.lexists(x))
    if not found.is_dir():
        kind = _kind(found.lstat().st_mode)
        raise ValueError(f"{found}: {kind}; needs a folder to write to.")
    return real


@contextlib.contextmanager
def writing_file(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a path to write a file to, which replaces `path` at the end.

    If the block raises, or the process is killed, `path` is unchanged. If
    `path` is a link, the file that it leads to is replaced.

    Raises: ValueError if the path is something other than a file; OSError.
    """
    check_file(path)
    path = pathlib.Path(os.path.realpath(path))
    with _scratch(path) as scratch:
        new = scratch / path.name
        yield new
        _use_umask([new], scratch)
        os.replace(new, path)


def move(new: pathlib.Path, path: pathlib.Path) -> None:
    """Renames a complete file, after all of it is flushed to disk.

    Raises: OSError.
    """
    with new.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(new, path)


@contextlib.contextmanager
def writing_folder(
    path: str | os.PathLike,
    existing: Literal["refuse", "replace", "keep"] = "refuse",
) -> Iterator[pathlib.Path]:
    """Yields an empty folder to fill, which becomes `path` at the end.

    If the block raises, or the process is killed, `path` is unchanged.

    Args:
        path: the final path; missing parents are created.
        existing: what to do at the end if the path is a folder that is not
            empty: "refuse" raises OSError, "keep" drops the new folder,
            "replace" replaces the old one. Where the system can exchange two
            folders, the path is never missing; elsewhere `recover` restores
            the old folder after a kill.
    Raises: ValueError if the path is something other than a folder; OSError.
    """
    path = folder_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(path) as scratch:
        new = scratch / path.name
        new.mkdir()
        yield new
        _use_umask(new.rglob("*"), scratch)
        try:
            os.rename(new, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if existing == "refuse":
                raise FileExistsError(
                    errno.EEXIST, "was just created by another process", path
                ) from None
            if existing == "replace":
                _replace(path, new, scratch)


def remove_folder(path: str | os.PathLike) -> None:
    """Removes a folder atomically: a kill leaves all of it or nothing.

    Raises: OSError.
    """
    path = pathlib.Path(path)
    with _scratch(path) as scratch:
        os.rename(path, scratch / path.name)


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes the scratch folders that killed processes left in a folder."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if _SCRATCH.fullmatch(entry.name):
                _discard_if_left(pathlib.Path(entry.path))


def recover(path: str | os.PathLike) -> None:
    """Restores a folder after a kill while it was being replaced."""
    path = pathlib.Path(path)
    if not path.exists() and any(path.parent.glob(f".kbert-*/{_OLD}")):
        remove_leftovers(path.parent)


@contextlib.contextmanager
def resumable_folder(
    path: pathlib.Path, settings: Mapping[str, Any]
) -> Iterator[pathlib.Path]:
    """Yields a folder to fill, which becomes `path` at the end.

    It is `path`.partial until then. A ValueError in the `with` block removes
    it. After any other exception, such as that of a full disk, and after a
    kill it stays, and a run with the same settings can resume.

    Args:
        path: an empty or new folder.
        settings: all values that the content depends on, as JSON, with the
            names that errors show.
    Raises: ValueError, naming the folder, if it exists already, if another
        process is filling it, or if it was started with other settings.
    """
    _check_free(path)
    with partial_folder(path, settings) as partial:
        try:
            _check_free(path)  # another process may just have finished it
            yield partial
        except ValueError:
            remove_folder(partial)
            raise
        _remove_half_written(partial)  # by workers that may still be running
        partial.rename(path)
        (path / _SETTINGS).unlink()


@contextlib.contextmanager
def partial_folder(
    path: pathlib.Path, settings: Mapping[str, Any]
) -> Iterator[pathlib.Path]:
    """Yields the folder `path`.partial for work towards `path`.

    It stays, and a run with the same settings can resume, unless the `with`
    block moves or removes it.

    Args:
        path: a file or a folder, which may exist already.
        settings: all values that the content depends on, as JSON, with the
            names that errors show.
    Raises: ValueError, naming the folder, if another process is filling it, or
        if it was started with other settings.
    """
    partial = path.with_name(path.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        if not lock(descriptor):
            raise ValueError(
                f"{partial}: another process is writing it; wait until it "
                "ends, or choose another folder."
            )
        remove_leftovers(partial)
        _check_settings(partial, json.loads(json.dumps(settings)))
        _remove_half_written(partial)
        yield partial
    except OSError as error:
        raise OSError(
            f"{error}. {partial} has the finished part: start again to "
            "resume, or remove it."
        ) from error
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(folder: str | os.PathLike, name: str) -> Iterator[pathlib.Path]:
    """Creates a folder if necessary and locks it for this process.

    Args:
        folder: the folder, which gets a file ".lock".
        name: its name in errors, such as its flag.
    Raises: ValueError, with the name, if another process has locked it or if
        it is something other than a folder; OSError.
    """
    path = pathlib.Path(folder)
    try:
        folder_path(path)
    except ValueError as error:
        raise ValueError(f"{name}={folder}: {error}") from None
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("a") as file:
        if not lock(file.fileno()):
            raise ValueError(
                f"{name}={folder}: another run is using it; wait until it "
                "ends, or give another folder."
            )
        yield path


def lock(descriptor: int) -> bool:
    """Locks an open file or folder until it is closed; False if already locked.

    Raises: OSError where the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_free(path):
    if path.is_symlink() and not path.exists():
        raise ValueError(
            f"{path}: a broken link; needs a new or an empty folder."
        )
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(
            f"{path}: exists already; needs a new or an empty folder, so that "
            "nothing is lost."
        )


def _check_settings(partial, settings):
    file = partial / _SETTINGS
    if not file.exists():
        if any(partial.iterdir()):
            raise ValueError(
                f"{partial}: exists, without {_SETTINGS} of an earlier run. "
                "Remove it, or choose another folder."
            )
        write_text(file, json.dumps(settings, indent=2))
        return
    try:
        earlier = json_files.read(file)
    except ValueError as error:
        raise ValueError(f"{error} Remove {partial}.") from None
    for name in (*settings, *earlier):
        before, now = earlier.get(name), settings.get(name)
        if before != now:
            raise ValueError(
                f"{partial}: an earlier run started it with {name} "
                f"{_shown(before)}, now it is {_shown(now)}. Give the same "
                "value to resume, or remove the folder."
            )


def _shown(value):
    return "missing" if value is None else json.dumps(value)


def _remove_half_written(folder):
    for left in list(folder.rglob(".*")):
        _remove(left)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _descriptor(path) -> int | None:
    """Returns the descriptor that a path such as /dev/stdout names, or None."""
    path = os.path.abspath(path)
    for _ in range(40):  # the number of links that Linux follows
        folder, name = os.path.split(path)
        path = os.path.join(os.path.realpath(folder), name)
        found = _DESCRIPTOR.fullmatch(path)
        if found and found[1] in ("self", str(os.getpid())):
            return int(found[2])
        if not os.path.islink(path):
            return None
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    return None


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a disk",
        stat.S_IFREG: "a file",
        stat.S_IFLNK: "a broken link",
    }
    return kinds.get(stat.S_IFMT(mode), "not a file")


@contextlib.contextmanager
def _scratch(path):
    """Yields a locked scratch folder next to a path; removes it at the end."""
    remove_leftovers(path.parent)
    try:
        scratch, descriptor = _make_scratch(path.parent)
    except OSError as error:
        error.filename = str(path)  # the user does not know the scratch folder
        raise
    try:
        yield scratch
    except OSError as error:
        if error.filename is not None:
            inside = os.fspath(scratch / path.name)
            shown = os.fsdecode(error.filename).replace(inside, str(path))
            error.filename, error.filename2 = shown, None
        raise
    finally:
        _discard(scratch)
        os.close(descriptor)


def _make_scratch(parent):
    while True:
        scratch = parent / f".kbert-{secrets.token_hex(8)}"
        scratch.mkdir()
        try:
            descriptor = os.open(scratch, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process removed it before it was locked
        with contextlib.suppress(OSError):  # a file system without locks
            if not lock(descriptor):
                os.close(descriptor)
                continue
        if scratch.exists():
            return scratch, descriptor
        os.close(descriptor)


def _discard_if_left(scratch):
    with contextlib.suppress(OSError):  # removed, not permitted, or no locks
        descriptor = os.open(scratch, os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if lock(descriptor):
                _discard(scratch)
        finally:
            os.close(descriptor)


def _discard(scratch):
    """Removes a scratch folder; restores a folder that was not replaced."""
    old = scratch / _OLD
    for kept in old.iterdir() if old.exists() else ():
        path = scratch.parent / kept.name
        if not path.exists():
            os.rename(kept, path)
    shutil.rmtree(scratch, ignore_errors=True)


def _use_umask(paths, scratch):
    """Sets files to the umask's mode; some libraries write them as 0600."""
    probe = scratch / ".mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    for path in paths:
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def _replace(path, new, scratch):
    if _exchange(new, path):
        return
    old = scratch / _OLD / path.name
    old.parent.mkdir()
    os.rename(path, old)
    os.rename(new, path)  # if this fails, `_discard` restores the old one


def _exchange(one, other) -> bool:
    """Exchanges two paths atomically; False where the system cannot."""
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(one), os.fsencode(other)
    return call is not None and not call(
        _AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE
    )
