# SPDX-License-Identifier: Apache-2.0
"""The newest checkpoints of a run and its best one, written atomically."""

import os
import pathlib
import re
from collections.abc import Callable, Mapping

import tensorflow as tf
from google.protobuf.message import DecodeError

from kbert import atomic_files

CHECKPOINTS_FOLDER = "checkpoints"  # in a run's output_dir
_NAME = re.compile(r"step-(\d+)")
_STATE = "state"  # what TensorFlow's files in a checkpoint's folder begin with
# Another model's raises AssertionError or ValueError instead.
_DAMAGE = (tf.errors.OpError, IndexError, DecodeError)


def saved_steps(folder: str | os.PathLike) -> list[int]:
    """The steps of a folder's checkpoints, in order, complete or damaged."""
    path = pathlib.Path(folder)
    names = [x.name for x in path.iterdir()] if path.is_dir() else []
    return sorted(int(x[1]) for x in map(_NAME.fullmatch, names) if x)


class Checkpoints:
    """Folders step-00001000, ...: each is written atomically.

    Args:
        folder: of the checkpoints; it need not exist.
        state: all variables that a resumed run needs.
        keep: how many of the newest to keep.
        on_message: takes a line for the user.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        state: Mapping[str, list[tf.Variable]],
        *,
        keep: int,
        on_message: Callable[[str], object],
    ):
        self._folder = pathlib.Path(folder)
        self._checkpoint = tf.train.Checkpoint(**state)
        self._keep = keep
        self._best = None
        self._on_message = on_message

    def restore(self) -> None:
        """Restores the newest complete one; without any, changes nothing.

        Raises: ValueError if they are all damaged or of another model.
        """
        damaged = []
        for path in reversed(self._paths()):
            try:
                status = self._checkpoint.read(str(path / _STATE))
                status.assert_consumed()
            except _DAMAGE as error:
                damaged.append((path, error))
                continue
            except (AssertionError, ValueError) as error:
                raise ValueError(
                    f"{path}: not a checkpoint of this run "
                    f"({_first_line(error)}); needs the flags that it started "
                    "with, or another --output_dir."
                ) from None
            for bad, error in damaged:
                self._set_aside(bad)
                self._on_message(
                    f"{bad}: damaged ({_first_line(error)}); resuming from "
                    f"{path.name}."
                )
            return
        if damaged:  # by now the variables hold parts of them
            path, error = damaged[0]
            raise ValueError(
                f"{path}: damaged ({_first_line(error)}), and there is no "
                "older one; remove it to start again."
            )

    def restore_step(self, step: int) -> bool:
        """Restores one; returns False, after a message, if it is damaged.

        The variables then hold parts of it.
        """
        path = self._path(step)
        if not path.exists():
            self._on_message(f"{path}: does not exist any more; not restored.")
            return False
        try:
            self._checkpoint.read(str(path / _STATE)).assert_consumed()
        except (*_DAMAGE, AssertionError, ValueError) as error:
            self._on_message(
                f"{path}: damaged ({_first_line(error)}); not restored."
            )
            return False
        return True

    def keep_best(self, step: int) -> None:
        """Keeps this one in addition to the newest, and no earlier best."""
        self._best = step
        self._remove_old()

    def save(self, step: int) -> None:
        """Writes one, on the chief, and removes old ones.

        Raises: OSError; the older ones are then unchanged.
        """
        if not tf.distribute.get_strategy().extended.should_checkpoint:
            return
        path = self._path(step)
        try:
            with atomic_files.writing_folder(path, "replace") as partial:
                self._checkpoint.write(str(partial / _STATE))
        except (tf.errors.OpError, OSError) as error:
            last = [path.name for path in self._paths()[-1:]]
            raise OSError(
                f"{path}: not written ({_first_line(error)}); the last "
                f"checkpoint is {', '.join(last) or 'none'}."
            ) from None
        self._remove_old()

    def _remove_old(self):
        for old in self._paths()[: -self._keep]:
            if self._best is None or old != self._path(self._best):
                atomic_files.remove_folder(old)

    def _path(self, step):
        return self._folder / f"step-{step:08}"

    def _paths(self):
        return [self._path(step) for step in saved_steps(self._folder)]

    def _set_aside(self, path):
        if tf.distribute.get_strategy().extended.should_checkpoint:
            aside = path.with_name(f"{path.name}.damaged")
            if aside.exists():
                atomic_files.remove_folder(aside)
            os.replace(path, aside)


def _first_line(error):
    text = getattr(error, "message", None) or str(error)
    return (text or type(error).__name__).splitlines()[0]
