# SPDX-License-Identifier: Apache-2.0
"""Rewrites a SavedModel so that its bytes depend only on the model.

TensorFlow numbers functions and the tensors that they capture by a counter of
the process, lists functions in the order of a hash table, and gives each
SavedModel a random id.
"""

import hashlib
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2
from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

_NUMBERED = re.compile(r"(.*)_(\d+)")
_GIVEN_NAME = "_user_specified_name"
_FILES = ("saved_model.pb", "fingerprint.pb")


def write(folder: pathlib.Path) -> None:
    """Rewrites the graphs and the fingerprint of a SavedModel.

    Functions are renumbered from 0, in the order of their creation.

    Raises: OSError.
    """
    graphs, fingerprint = (folder / name for name in _FILES)
    saved = saved_model_pb2.SavedModel.FromString(graphs.read_bytes())
    for graph in saved.meta_graphs:
        _renumber(graph)
    content = saved.SerializeToString(deterministic=True)
    graphs.write_bytes(content)
    made: Any = fingerprint_pb2.FingerprintDef.FromString(
        fingerprinting.CreateFingerprintDef(str(folder))
    )
    index = (folder / "variables" / "variables.index").read_bytes()
    digest = hashlib.sha256(content + index).digest()
    made.uuid = str(int.from_bytes(digest[:8], "big"))
    fingerprint.write_bytes(made.SerializeToString(deterministic=True))


def _renumber(graph: Any) -> None:
    library = graph.graph_def.library
    names = {function.signature.name for function in library.function}
    new = dict(_numbered(names))
    for function in library.function:
        function.signature.name = new[function.signature.name]
        _rename_arguments(function)
    for gradient in library.gradient:
        gradient.function_name = new[gradient.function_name]
        gradient.gradient_func = new[gradient.gradient_func]
    for node in _nodes(graph.graph_def):
        node.op = new.get(node.op, node.op)
        for value in node.attr.values():
            named = value.HasField("func")
            for called in [value.func] if named else value.list.func:
                called.name = new[called.name]
    _rename_objects(graph.object_graph_def, new)
    ordered = sorted(library.function, key=lambda one: one.signature.name)
    del library.function[:]
    library.function.extend(ordered)


def _numbered(names) -> Iterator[tuple[str, str]]:
    """Yields each name, and the name with its rank as its number."""

    def key(name):
        found = _NUMBERED.fullmatch(name)
        return (int(found[2]) if found else -1, name)

    for rank, name in enumerate(sorted(names, key=key)):
        found = _NUMBERED.fullmatch(name)
        yield name, f"{found[1] if found else name}_{rank}"


def _nodes(graph_def) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _rename_arguments(function) -> None:
    """Renames numbered arguments, such as captured tensors, by their index."""
    signature = function.signature
    inputs = dict(_by_index(signature.input_arg, "argument"))
    outputs = dict(_by_index(signature.output_arg, "result"))
    for argument in signature.input_arg:
        argument.name = inputs[argument.name]
    for node in function.node_def:
        for index, source in enumerate(node.input):
            node.input[index] = _renamed_source(source, inputs)
    returned = {
        outputs[key]: _renamed_source(source, inputs)
        for key, source in function.ret.items()
    }
    for argument in signature.output_arg:
        argument.name = outputs[argument.name]
    function.ret.clear()
    function.ret.update(returned)
    for index, argument in function.arg_attr.items():
        given = argument.attr.get(_GIVEN_NAME)
        if given and re.search(rb"\d$", given.s):
            given.s = f"argument_{index}".encode()


def _by_index(arguments, word) -> Iterator[tuple[str, str]]:
    for index, argument in enumerate(arguments):
        has_number = re.search(r"_\d", argument.name)
        yield argument.name, f"{word}_{index}" if has_number else argument.name


def _renamed_source(source: str, new: Mapping[str, str]) -> str:
    control = "^" if source.startswith("^") else ""
    name, colon, rest = source.removeprefix("^").partition(":")
    return f"{control}{new.get(name, name)}{colon}{rest}"


def _rename_objects(objects, new) -> None:
    """Renames the functions that tf.saved_model.load finds."""
    for name in [x for x in objects.concrete_functions if x in new]:
        objects.concrete_functions[new[name]].CopyFrom(
            objects.concrete_functions.pop(name)
        )
    for node in objects.nodes:
        bare = node.bare_concrete_function
        if node.HasField("bare_concrete_function"):
            bare.concrete_function_name = new[bare.concrete_function_name]
        if node.HasField("function"):
            found = [new[x] for x in node.function.concrete_functions]
            node.function.concrete_functions[:] = found
