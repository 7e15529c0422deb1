# SPDX-License-Identifier: Apache-2.0
"""What the readers of foreign formats share: tensors into a kbert model.

And what their writers share: a folder that is made whole or not at all.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from kbert import atomic_files
from kbert.config import BertConfig
from kbert.tasks import TaskSpec
from kbert.text.vocabulary import Vocabulary

Report = Callable[[str], Any]  # called with each line about a conversion


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a variable's value comes from.

    Attributes:
        names: the tensors, in the order in which they are joined along the
            last axis.
        convert: brings each of them to kbert's form first.
    """

    names: tuple[str, ...]
    convert: Callable[[np.ndarray], np.ndarray] = lambda tensor: tensor


def assign(
    model: keras.Model,
    sources: Mapping[str, Source],
    *,
    names: Iterable[str],
    read: Callable[[str], np.ndarray],
    where: str | os.PathLike,
    report: Report,
    optional: Iterable[str] = (),
    ignored: Iterable[str] = (),
) -> None:
    """Fills every variable of a model from named tensors.

    Args:
        model: as `tasks.build` made it.
        sources: of each variable, by its path; those of variables that the
            model has not are passed over, and their tensors left out.
        names: of all tensors that are there.
        read: the tensor of a name.
        where: the file, for messages.
        report: told how many tensors were read, and the names of those that
            are left out or missing.
        optional: layers that keep their initial values if all their tensors
            are missing, such as "pooler".
        ignored: tensors that carry nothing, left out without a word.
    Raises: ValueError, naming the tensors, if some are missing, are no
        floating-point numbers, hold one that is not finite, or have another
        shape than the model's.
    """
    present = set(names)
    wanted = {v.path: sources[v.path] for v in model.weights}
    absent = _absent_layers(wanted, present, optional)
    for layer in absent:
        report(f"No tensors for {layer}: it keeps its initial, random values.")
    wanted = {
        path: source
        for path, source in wanted.items()
        if _layer(path) not in absent
    }
    used = {name for source in wanted.values() for name in source.names}
    if missing := sorted(used - present):
        raise ValueError(f"{where}: tensors missing: {', '.join(missing)}.")
    for variable in model.weights:
        if source := wanted.get(variable.path):
            variable.assign(_value(variable, source, read, where))
    report(f"{len(used)} tensors read.")
    if left := sorted(present - used - set(ignored)):
        report(f"{len(left)} tensors left out: {', '.join(left)}.")


def _absent_layers(wanted, present, optional):
    absent = []
    for layer in optional:
        tensors = {
            name
            for path, source in wanted.items()
            if _layer(path) == layer
            for name in source.names
        }
        if tensors and not tensors & present:
            absent.append(layer)
    return absent


def _layer(path):
    return path.partition("/")[0]


def _value(variable, source, read, where):
    tensors = [read(name) for name in source.names]
    wanted = tuple(variable.shape)
    value = None
    # Before a copy is made: one with strides of 0 could be of any size.
    if sum(tensor.size for tensor in tensors) == math.prod(wanted):
        named = zip(tensors, source.names, strict=True)
        tensors = [_checked(tensor, name, where) for tensor, name in named]
        # Another rank, or parts of unequal width.
        with contextlib.suppress(ValueError):
            parts = [source.convert(tensor) for tensor in tensors]
            value = np.concatenate(parts, axis=-1)
    if value is None or value.shape != wanted:
        shapes = ", ".join(
            f"{name} {tensor.shape}"
            for name, tensor in zip(source.names, tensors, strict=True)
        )
        raise ValueError(
            f"{where}: {shapes} cannot fill {variable.path}, which the "
            f"config gives the shape {wanted}."
        )
    return value


def _checked(tensor, name, where):
    # numpy does not count bfloat16 among the floating-point types.
    if tensor.dtype.kind != "f" and tensor.dtype.name != "bfloat16":
        raise ValueError(
            f"{where}: {name} is of type {tensor.dtype}; wanted "
            "floating-point numbers."
        )
    with np.errstate(over="ignore"):  # an infinity is found below
        tensor = tensor.astype("float32")
    if wrong := np.count_nonzero(~np.isfinite(tensor)):
        raise ValueError(
            f"{where}: {name} has {wrong} values that are not finite."
        )
    return tensor


def check_vocabulary(
    vocabulary: Vocabulary,
    vocab_size: int,
    *,
    where: str | os.PathLike,
    report: Report,
) -> None:
    """Compares a vocabulary with the rows of the token table.

    Raises: ValueError, naming `where`, if it has more tokens. Rows too many
        are kept, and reported.
    """
    spare = vocab_size - len(vocabulary)
    if spare < 0:
        raise ValueError(
            f"{where}: {len(vocabulary)} tokens, but the token table has "
            f"{vocab_size} rows."
        )
    if spare:
        report(f"{spare} rows of the token table stand for no token: kept.")


def task_spec(
    task: str, config: BertConfig, labels: Iterable[str] = ()
) -> TaskSpec:
    """What a foreign model is for, as far as its files tell.

    Rows may be as long as the position table. The pre-training heads saw
    pairs; a classifier is taken to answer single texts.

    Raises: ValueError, naming the field, if kbert has no such task.
    """
    return TaskSpec(
        task=task,
        max_seq_length=config.max_position_embeddings,
        labels=tuple(labels),
        num_texts=2 if task in ("pretraining", "next_sentence") else 1,
    )


def common_prefix(
    names: Iterable[str], table: str, ignored: re.Pattern[str] | None = None
) -> str:
    """What stands before all names: a wrapper's, such as "module.".

    Args:
        names: of all tensors.
        table: the name of the token table, without the prefix.
        ignored: what may lack it.
    Returns: the prefix, or "" if there is none before every name.
    """
    names = list(names)
    ends = re.compile(rf"(.+[./]){re.escape(table)}")
    found = {match[1] for name in names if (match := ends.fullmatch(name))}
    if table in names or len(found) != 1:
        return ""
    prefix = found.pop()
    counted = [x for x in names if not (ignored and ignored.fullmatch(x))]
    return prefix if all(x.startswith(prefix) for x in counted) else ""


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a folder to write to, which becomes `path` if the block ends well.

    Raises: ValueError if there is something at `path` already; OSError.
    """
    folder = pathlib.Path(os.path.realpath(path))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder}: is there already; wanted a new or an empty folder."
        )
    with atomic_files.writing_folder(folder) as partial:
        yield partial
