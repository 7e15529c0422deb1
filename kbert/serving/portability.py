# SPDX-License-Identifier: Apache-2.0
"""Checks that older TensorFlow Servings can load a SavedModel."""

import importlib.resources
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

# Servers whose ops are listed in server_ops/. Servers 2.12 to 2.19 link the ops
# of tensorflow-text 2.12.1, and 2.20 those of 2.20.0.
LISTED = ((2, 12), (2, 20))

# Types that servers can write as JSON; half-precision numbers are not.
_OUTPUTS = (tf.float32, tf.int32, tf.int64, tf.string)
# Ops that read a file whose name may be any tensor.
_READERS = ("ReadFile", "WholeFileReaderV2", "InitializeTableFromTextFileV2")


def check(saved_model: str | os.PathLike, min_server: tuple[int, int]) -> None:
    """Checks that a server version, and later ones, can load and run a model.

    The server must link every op in the graph and its functions. Nothing may
    require XLA, which servers switch off, or read files other than assets.
    Outputs must be float32, integers or strings.

    Args:
        saved_model: the folder of the model.
        min_server: the version of the oldest server, such as (2, 12).
    Raises: ValueError, naming the op, the output or the file.
    """
    folder = pathlib.Path(saved_model)
    known = _ops_of(min_server)
    content = (folder / "saved_model.pb").read_bytes()
    for graph in saved_model_pb2.SavedModel.FromString(content).meta_graphs:
        for node in _nodes(graph.graph_def):
            if node.op not in known and node.op not in _functions(graph):
                raise ValueError(
                    f"{folder}: the op {node.op} ({node.name}) is not in "
                    f"TensorFlow Serving {_text(min_server)}."
                )
            if node.op in _READERS:
                raise ValueError(
                    f"{folder}: {node.op} ({node.name}) reads a file; needs a "
                    "graph without files."
                )
        _check_xla(graph, folder)
        _check_assets(graph, folder)
        _check_outputs(graph, folder)


def parse_version(text: str) -> tuple[int, int]:
    """Parses the version of a server, such as "2.12".

    Raises: ValueError if it is not a version, or before 2.12.
    """
    parts = text.split(".")
    if len(parts) != 2 or not all(x.isdecimal() for x in parts):
        raise ValueError(f"{text!r}; needs a version such as 2.12.")
    version = (int(parts[0]), int(parts[1]))
    if version < LISTED[0]:
        raise ValueError(f"{text}; needs {_text(LISTED[0])} or later.")
    return version


def _ops_of(server: tuple[int, int]) -> frozenset[str]:
    listed = max(version for version in LISTED if version <= server)
    file = importlib.resources.files("kbert.serving") / "server_ops"
    text = (file / f"{_text(listed)}.txt").read_text("utf-8")
    return frozenset(x for x in text.splitlines() if not x.startswith("#"))


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _functions(graph: Any) -> set[str]:
    """Returns the names of functions, which may be called like ops."""
    library = graph.graph_def.library.function
    return {function.signature.name for function in library}


def _check_xla(graph, folder):
    nodes = [*_nodes(graph.graph_def), *graph.graph_def.library.function]
    if any(x.attr["_XlaMustCompile"].b for x in nodes):
        raise ValueError(
            f"{folder}: a function needs XLA, which TensorFlow Serving "
            "switches off."
        )


def _check_assets(graph, folder):
    for asset in graph.asset_file_def:
        name = pathlib.PurePath(asset.filename)
        if name.is_absolute() or len(name.parts) != 1:
            raise ValueError(
                f"{folder}: the asset {name} is outside its folder."
            )
        if not (folder / "assets" / name).is_file():
            raise ValueError(f"{folder}: the asset {name} is missing.")


def _check_outputs(graph, folder):
    for name, signature in graph.signature_def.items():
        if name == "__saved_model_init_op":  # has no outputs
            continue
        for output, tensor in signature.outputs.items():
            if tensor.dtype not in {x.as_datatype_enum for x in _OUTPUTS}:
                found = tf.as_dtype(tensor.dtype).name
                raise ValueError(
                    f"{folder}: {output} of {name} is {found}; needs "
                    "float32, integers or strings."
                )
