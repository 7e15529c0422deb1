# SPDX-License-Identifier: Apache-2.0
"""The files that answers are written to, a part at a time.

A file begins with `head`, goes on with what `encode` makes of some answers,
and so on, and is made ready by `finish`. Up to then it is no more than bytes
at whose end there may be others, which is what lets a run go on.
"""

import abc
import importlib.util
import json
import os
import pathlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kbert.serving.embedding import EMBEDDING

Answers = Sequence[Mapping[str, Any]]  # as a server gives them

_HEADER = 128  # bytes
_FLOAT = 4  # bytes
_GROUP = 8192  # rows of a Parquet file's group


class AnswerFile(abc.ABC):
    """A format."""

    head: bytes = b""

    @abc.abstractmethod
    def encode(self, answers: Answers) -> bytes:
        """Some answers."""

    @abc.abstractmethod
    def finish(self, path: pathlib.Path) -> pathlib.Path:
        """Makes the file whole, or another one beside it: which it returns."""


def of(path: str | os.PathLike, width: int | None) -> AnswerFile:
    """The format of a file of that name.

    Args:
        path: the file.
        width: H, where it is to have vectors.
    Raises: ValueError for an extension that no such file has, or if what
        .parquet needs is missing.
    """
    extension = pathlib.Path(path).suffix.lower()
    if width is None:
        if extension in (".npy", ".parquet"):
            raise ValueError(
                f"{path}: extension {extension!r} is for embeddings; wanted "
                "another, such as .jsonl, for answers."
            )
        return JsonLines()
    if extension == ".npy":
        return Npy(width)
    if extension == ".parquet":
        return Parquet(width)
    raise ValueError(
        f"{path}: extension {extension!r}; wanted .npy or .parquet for "
        "embeddings."
    )


class JsonLines(AnswerFile):
    """A JSON object a line."""

    def encode(self, answers):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in answers]
        # A lone surrogate becomes what JSON calls it.
        return "".join(lines).encode("utf-8", "backslashreplace")

    def finish(self, path):
        return path


class Npy(AnswerFile):
    """Vectors as a NumPy array (rows, H) float32.

    Source: numpy.lib.format, version 1.0.
    """

    def __init__(self, width: int):
        self.width = width
        self.head = self._header(0)

    def _header(self, rows: int) -> bytes:
        """As long for any number of rows, which is known at the end."""
        shape = f"({rows}, {self.width})"
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
        begin = b"\x93NUMPY\x01\x00" + struct.pack("<H", _HEADER - 10)
        return begin + text.ljust(_HEADER - 11).encode() + b"\n"

    def encode(self, answers):
        vectors = np.stack([row[EMBEDDING] for row in answers])
        return vectors.astype("<f4").tobytes()

    def num_rows(self, path: pathlib.Path) -> int:
        """How many there are in a file."""
        return (path.stat().st_size - _HEADER) // (_FLOAT * self.width)

    def finish(self, path):
        with open(path, "r+b") as file:
            file.write(self._header(self.num_rows(path)))
            file.flush()
            os.fsync(file.fileno())
        return path


class Parquet(Npy):
    """Vectors as a Parquet column, "embedding", of lists of H floats.

    Raises: ValueError if pyarrow is not installed.
    """

    def __init__(self, width: int):
        super().__init__(width)
        if importlib.util.find_spec("pyarrow") is None:
            raise ValueError(
                ".parquet needs pyarrow: pip install 'kbert[parquet]'; or "
                "write a .npy."
            )

    def finish(self, path):
        import pyarrow
        from pyarrow import parquet

        vectors = pyarrow.list_(pyarrow.float32(), self.width)
        schema = pyarrow.schema([(EMBEDDING, vectors)])
        whole = path.with_name(".parquet")
        with (
            open(path, "rb") as file,
            parquet.ParquetWriter(whole, schema) as writer,
        ):
            file.seek(_HEADER)
            for start in range(0, self.num_rows(path), _GROUP):
                rows = min(_GROUP, self.num_rows(path) - start)
                flat = np.fromfile(file, "<f4", rows * self.width)
                column = pyarrow.FixedSizeListArray.from_arrays(
                    pyarrow.array(flat), self.width
                )
                writer.write_batch(
                    pyarrow.record_batch([column], schema=schema)
                )
        return whole
