# SPDX-License-Identifier: Apache-2.0
"""Flags that are made of a dataclass whose fields are options."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from typing import TYPE_CHECKING, Any

from absl import flags

from kbert.options import helps

if TYPE_CHECKING:  # it takes seconds to import
    from kbert.runs.run_record import Command

flags.disclaim_key_flags()  # they belong to the command that calls `define`

_DEFINE = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


def define(settings: type, *names: str) -> None:
    """Defines a flag for each option of a dataclass, or for some of them.

    A field without a default is a required flag. Ranges of numbers are those
    of kbert.limits, which every command checks.
    """
    types_of = typing.get_type_hints(settings)
    texts = helps(settings)
    for field in dataclasses.fields(settings):
        if field.name not in (names or texts):
            continue
        required = field.default is dataclasses.MISSING
        default = None if required else field.default
        kind = types_of[field.name]
        if choices := _choices(kind):
            flags.DEFINE_enum(field.name, default, choices, texts[field.name])
        else:
            _DEFINE[value_type(kind)](
                field.name, default, texts[field.name], required=required
            )


def values(settings: type) -> dict[str, Any]:
    """The values of the flags that `define` made of a dataclass, by field."""
    return {name: flags.FLAGS[name].value for name in helps(settings)}


def value_type(kind: Any) -> type:
    """The type of a field's value, without None.

    Returns: bool, int, float, str, of a Literal of strings too, or tuple.
    """
    (member,) = (x for x in _members(kind) if x is not types.NoneType)
    origin = typing.get_origin(member)
    return str if origin is typing.Literal else origin or member


def define_unset(name: str, kind: type, text: str) -> None:
    """Defines a flag of a type of `value_type`, None unless it is given."""
    _DEFINE[kind](name, None, text)


def converted(value: Any, kind: Any) -> Any:
    """A flag's value as the field of this type has it.

    Raises: ValueError for an element of a list that is no whole number where
        the field has these.
    """
    if value_type(kind) is not tuple:
        return value
    element = typing.get_args(kind)[0]
    return tuple(element(x) for x in value)


def _choices(kind) -> list[str]:
    literals = [
        x for x in _members(kind) if typing.get_origin(x) is typing.Literal
    ]
    return [value for x in literals for value in typing.get_args(x)]


def _members(kind):
    """A union's types, or the one type that it is."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if is_union else (kind,)


def command(name: str) -> Command:
    """The running command with all its flags, for the record of a run."""
    from kbert.runs.run_record import Command

    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    own = sorted(own, key=lambda flag: flag.name)
    lines = sorted(flag.serialize() for flag in own if flag.value is not None)
    return Command(
        name,
        settings={flag.name: flag.value for flag in own},
        flags="".join(f"{line}\n" for line in lines),
    )
