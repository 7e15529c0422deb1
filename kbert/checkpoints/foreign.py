# SPDX-License-Identifier: Apache-2.0
"""Shared parts of the readers and writers of foreign formats."""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from kbert import atomic_files
from kbert.config import BertConfig
from kbert.tasks import TaskSpec
from kbert.text.vocabulary import Vocabulary

Report = Callable[[str], Any]  # called with each line about a conversion


# From a tensor, and the shape of its part of a variable, to kbert's form.
Convert = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]


def keep(tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Converts nothing."""
    del shape
    return tensor


def transpose(tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Converts a kernel (outputs, inputs) to (inputs, outputs)."""
    del shape
    return np.transpose(tensor)


class Source(NamedTuple):
    """The tensors that a variable is read from.

    Attributes:
        names: the tensors, in the order in which they are concatenated along
            the last axis.
        convert: converts each tensor first.
    """

    names: tuple[str, ...]
    convert: Convert = keep


class Block(NamedTuple):
    """The layers of a format's encoder block, as its `Naming` takes them."""

    query: Any
    key: Any
    value: Any
    attention_output: Any
    attention_norm: Any
    intermediate: Any
    output: Any
    output_norm: Any


@dataclasses.dataclass(frozen=True)
class Naming:
    """Makes the sources of layers, given how a format names their tensors.

    Attributes:
        tensor: a function from a layer and "kernel", "bias", "gamma" or "beta"
            to the name of the tensor.
        dense_convert: converts the tensors of dense layers.
        heads_convert: converts those of dense layers with an axis of heads.
    """

    tensor: Callable[[Any, str], str]
    dense_convert: Convert = keep
    heads_convert: Convert = keep

    def dense(
        self, ours: str, *layers: Any, convert: Convert | None = None
    ) -> dict[str, Source]:
        """Returns the sources of kernel and bias, joined from dense layers."""
        return {
            f"{ours}{kind}": Source(
                tuple(self.tensor(layer, kind) for layer in layers),
                convert or self.dense_convert,
            )
            for kind in ("kernel", "bias")
        }

    def norm(self, ours: str, layer: Any) -> dict[str, Source]:
        """Returns the sources of gamma and beta."""
        return {
            f"{ours}/{kind}": Source((self.tensor(layer, kind),))
            for kind in ("gamma", "beta")
        }

    def block(self, ours: str, block: Block) -> dict[str, Source]:
        """Returns the sources of an encoder block."""
        heads = self.heads_convert
        qkv = block.query, block.key, block.value
        return {
            **self.dense(f"{ours}/qkv_", *qkv, convert=heads),
            **self.dense(
                f"{ours}/attention_output_",
                block.attention_output,
                convert=heads,
            ),
            **self.norm(f"{ours}/attention_norm", block.attention_norm),
            **self.dense(f"{ours}/intermediate_", block.intermediate),
            **self.dense(f"{ours}/output_", block.output),
            **self.norm(f"{ours}/output_norm", block.output_norm),
        }


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
        model: a model that `tasks.build` made.
        sources: the source of each variable, by its path; additional ones are
            ignored.
        names: the names of all tensors.
        read: a function from a name to the tensor.
        where: the file, for messages.
        report: called with the number of tensors read, and with the names of
            missing and unused tensors.
        optional: layers that stay newly initialized if all their tensors are
            missing, such as "pooler".
        ignored: tensors without content, whose names are not reported.
    Raises: ValueError, naming the tensors, if some are missing, are not
        floating-point numbers, have a value that is not finite, or do not
        have the shape of the variable.
    """
    present = set(names)
    needed = {v.path: sources[v.path] for v in model.weights}
    absent = _absent_layers(needed, present, optional)
    for layer in absent:
        report(f"No tensors for {layer}: it is newly initialized.")
    needed = {
        path: source
        for path, source in needed.items()
        if _layer(path) not in absent
    }
    used = {name for source in needed.values() for name in source.names}
    if missing := sorted(used - present):
        raise ValueError(f"{where}: tensors missing: {', '.join(missing)}.")
    for variable in model.weights:
        if source := needed.get(variable.path):
            variable.assign(_value(variable, source, read, where))
    report(f"{len(used)} tensors read.")
    if unused := sorted(present - used - set(ignored)):
        report(f"{len(unused)} tensors left out: {', '.join(unused)}.")


def _absent_layers(needed, present, optional):
    absent = []
    for layer in optional:
        tensors = {
            name
            for path, source in needed.items()
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
    shape = tuple(variable.shape)
    part_shape = (*shape[:-1], shape[-1] // len(tensors))
    value = None
    # Check the size before copying: a tensor with strides of 0 can be huge.
    if sum(tensor.size for tensor in tensors) == math.prod(shape):
        named = zip(tensors, source.names, strict=True)
        tensors = [_checked(tensor, name, where) for tensor, name in named]
        # A ValueError here means different ranks or widths.
        with contextlib.suppress(ValueError):
            parts = [source.convert(tensor, part_shape) for tensor in tensors]
            value = np.concatenate(parts, axis=-1)
    if value is None or value.shape != shape:
        shapes = ", ".join(
            f"{name} {tensor.shape}"
            for name, tensor in zip(source.names, tensors, strict=True)
        )
        raise ValueError(
            f"{where}: {shapes} cannot fill {variable.path}, which has the "
            f"shape {shape} by the config."
        )
    return value


def _checked(tensor, name, where):
    # numpy does not count bfloat16 among the floating-point types.
    if tensor.dtype.kind != "f" and tensor.dtype.name != "bfloat16":
        raise ValueError(
            f"{where}: {name} is of type {tensor.dtype}; needs "
            "floating-point numbers."
        )
    with np.errstate(over="ignore"):  # infinities are found below
        tensor = tensor.astype("float32")
    if count := np.count_nonzero(~np.isfinite(tensor)):
        raise ValueError(
            f"{where}: {name} has {count} values that are not finite."
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

    Extra rows are kept, and reported.

    Raises: ValueError, naming `where`, if there are more tokens than rows.
    """
    spare = vocab_size - len(vocabulary)
    if spare < 0:
        raise ValueError(
            f"{where}: {len(vocabulary)} tokens, but the token table has "
            f"{vocab_size} rows."
        )
    if spare:
        report(f"{spare} rows of the token table have no token: kept.")


def task_spec(
    task: str, config: BertConfig, labels: Iterable[str] = ()
) -> TaskSpec:
    """Returns the spec of a foreign model, as far as its files define it.

    Rows may be as long as the position table. The inputs of pre-training heads
    are pairs; those of others are assumed to be single texts.

    Raises: ValueError, naming the field, if kbert does not have the task.
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
    """Finds the prefix of a wrapper, such as "module.", in all tensor names.

    Args:
        names: the names of all tensors.
        table: the name of the token table without the prefix.
        ignored: names that need not have the prefix.
    Returns: the prefix, or "" if the names have none in common.
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
    """Yields a folder to write to, which becomes `path` at the end.

    Raises: ValueError if `path` exists and is not an empty folder; OSError.
    """
    folder = pathlib.Path(os.path.realpath(path))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder}: exists already; needs a new or an empty folder."
        )
    with atomic_files.writing_folder(folder) as partial:
        yield partial
