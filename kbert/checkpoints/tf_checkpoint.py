# SPDX-License-Identifier: Apache-2.0
"""Reads TensorFlow checkpoints: NAME.index, NAME.data-00000-of-00001."""

import contextlib
import dataclasses
import glob
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kbert.input_files import check_regular

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # only of tf.train.Checkpoint

_INDEX = ".index"

# TensorFlow's errors for truncated files or flipped bits.
_DAMAGE = (tf.errors.OpError, IndexError, RuntimeError, MemoryError)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint.

    Attributes:
        path: the prefix of its files.
        shapes: the shapes of all tensors, by name.
    """

    path: pathlib.Path
    shapes: Mapping[str, tuple[int, ...]]
    _reader: Any
    _names: Mapping[str, str] | None = None  # names in `shapes`: in the files

    def without_prefix(self, prefix: str) -> "Checkpoint":
        """Returns the same tensors, with a prefix removed from their names."""
        names = {name.removeprefix(prefix): name for name in self.shapes}
        shapes = {name: self.shapes[names[name]] for name in names}
        return dataclasses.replace(self, shapes=shapes, _names=names)

    @property
    def num_weights(self) -> int:
        """The number of weights in all tensors, including an optimizer's."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def read(self, name: str) -> np.ndarray:
        """Reads a tensor and checks its checksum.

        Raises: ValueError, naming the checkpoint, if it is damaged.
        """
        with _explain_damage(self.path):
            in_file = self._names[name] if self._names else name
            return np.asarray(self._reader.get_tensor(in_file))


def find_checkpoint(path: str | os.PathLike) -> pathlib.Path:
    """Returns the checkpoint in a folder, or a path that is one's prefix.

    Raises: ValueError if there is no checkpoint, or several in the folder.
    """
    path = pathlib.Path(path)
    if path.with_name(path.name + _INDEX).is_file():
        return path
    if not path.is_dir():
        found = "a file" if path.exists() else "no such folder"
        raise ValueError(
            f"{path}: {found}, and no {path.name}{_INDEX}; needs a folder "
            "with a TensorFlow checkpoint, or the prefix of a checkpoint's "
            "files, such as DIR/bert_model.ckpt."
        )
    names = sorted(entry.name for entry in path.glob(f"*{_INDEX}"))
    if not names:
        raise ValueError(
            f"{path}: no file *{_INDEX}; needs a folder with a TensorFlow "
            "checkpoint, such as bert_model.ckpt.index and "
            "bert_model.ckpt.data-00000-of-00001."
        )
    if len(names) > 1:
        raise ValueError(
            f"{path}: {len(names)} checkpoints: {', '.join(names)}; name one, "
            f"such as {path / names[0].removesuffix(_INDEX)}."
        )
    return path / names[0].removesuffix(_INDEX)


def open_checkpoint(path: pathlib.Path) -> Checkpoint:
    """Opens the checkpoint that `find_checkpoint` returned.

    Raises: ValueError, naming it, if it is damaged or if its files are too
        small for its tensors.
    """
    files = [path.with_name(path.name + _INDEX)]
    files += sorted(path.parent.glob(f"{glob.escape(path.name)}.data-*"))
    size = sum([check_regular(file) for file in files][1:])
    with _explain_damage(path):
        reader = tf.train.load_checkpoint(str(path))
        shapes = {
            name: tuple(shape)
            for name, shape in reader.get_variable_to_shape_map().items()
        }
        types = reader.get_variable_to_dtype_map()
    needed = sum(
        math.prod(shape) * types[name].size
        for name, shape in shapes.items()
        if types[name] != tf.string
    )
    if needed > size:
        raise ValueError(
            f"{path}: tensors of {needed:,} bytes in files of {size:,}."
        )
    return Checkpoint(path, shapes, reader)


@contextlib.contextmanager
def _explain_damage(path):
    try:
        yield
    except _DAMAGE as error:
        text = getattr(error, "message", str(error)) or type(error).__name__
        raise ValueError(
            f"{path}: not a complete TensorFlow checkpoint: {text}."
        ) from None
