# SPDX-License-Identifier: Apache-2.0
"""What is made by runs that may be killed, and then is there.

What is written stands under final names only when it is whole: a file or a
folder inside is written `beside` its name, and the whole is a folder called
`NAME.partial` until its end.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

_SETTINGS = "settings.json"


@contextlib.contextmanager
def new_folder(
    path: pathlib.Path, settings: Mapping[str, Any]
) -> Iterator[pathlib.Path]:
    """A folder to fill, which becomes `path` at the end.

    A ValueError in the `with` block removes it. After any other exception,
    such as a full disk's, and after a kill it stays, for a run with the same
    settings to go on.

    Args:
        path: a folder that is empty or not there yet.
        settings: what the content depends on, as JSON; by names to be shown.
    Raises: ValueError, naming the folder, if it is there already, if another
        process fills it, or if one began to with other settings.
    """
    _check_free(path)
    with partial_folder(path, settings) as partial:
        try:
            _check_free(path)  # another process may just have done it
            yield partial
        except ValueError:
            shutil.rmtree(partial)
            raise
        _remove_half_written(partial)  # by workers that may still try it
        partial.rename(path)
        (path / _SETTINGS).unlink()


@contextlib.contextmanager
def partial_folder(
    path: pathlib.Path, settings: Mapping[str, Any]
) -> Iterator[pathlib.Path]:
    """The folder `path`.partial, for whatever is to become `path`.

    It stays, for a run with the same settings to go on, unless the `with`
    block moves or removes it.

    Args:
        path: a file or a folder that may be there already.
        settings: what the content depends on, as JSON; by names to be shown.
    Raises: ValueError, naming the folder, if another process fills it, or if
        one began to with other settings.
    """
    partial = path.with_name(path.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    lock = os.open(partial, os.O_RDONLY)
    try:
        _lock(lock, partial)
        _check_settings(partial, json.loads(json.dumps(settings)))
        _remove_half_written(partial)
        yield partial
    except OSError as error:
        raise OSError(
            f"{error}. {partial} keeps what is done: start again to go on, "
            "or remove it."
        ) from error
    finally:
        os.close(lock)


@contextlib.contextmanager
def beside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Where to write a file or a folder that then gets its name, `path`.

    Several processes, on any machines, may write the same there at once: all
    but one folder, and all but the last file, are removed.
    """
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield new
        _rename(new, path)
    except BaseException:
        _remove(new)
        raise


def _rename(new, path):
    try:
        new.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _remove(new)  # another one was quicker


def _remove_half_written(folder):
    for left in list(folder.rglob(".*")):
        _remove(left)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _check_free(path):
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(
            f"{path}: is there already; wanted a new or an empty folder, so "
            "that nothing is lost."
        )


def _lock(descriptor, partial):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(
            f"{partial}: another process writes it; wait for its end, or "
            "choose another folder."
        ) from None


def _check_settings(partial, settings):
    file = partial / _SETTINGS
    if not file.exists():
        if any(partial.iterdir()):
            raise ValueError(
                f"{partial}: is there, without {_SETTINGS} of an earlier run; "
                "wanted to write it. Remove it, or choose another folder."
            )
        with beside(file) as new:
            new.write_text(json.dumps(settings, indent=2), encoding="utf-8")
        return
    try:
        begun = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ValueError(f"{file}: damaged; remove {partial}.") from None
    for name in (*settings, *begun):
        was, wanted = begun.get(name), settings.get(name)
        if was != wanted:
            raise ValueError(
                f"{partial}: an earlier run began it with {name} "
                f"{_shown(was)}, now it is {_shown(wanted)}. Give the same to "
                "go on, or remove the folder."
            )


def _shown(value):
    return "not there" if value is None else json.dumps(value)
