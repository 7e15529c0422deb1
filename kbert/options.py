# SPDX-License-Identifier: Apache-2.0
"""Dataclass fields that are also flags of the commands."""

import dataclasses
import enum
from typing import Any

_HELP = "help"


class _Missing(enum.Enum):
    NONE = enum.auto()


def option(help: str, default: Any = _Missing.NONE) -> Any:
    """Returns a dataclass field with the help of its flag.

    Args:
        help: the text that `--help` prints.
        default: the default of the field; by default it has none.
    """
    keywords = {} if default is _Missing.NONE else {"default": default}
    return dataclasses.field(**keywords, metadata={_HELP: help})


def helps(settings: Any) -> dict[str, str]:
    """Returns the help of each field made by `option`, by its name."""
    return {
        field.name: field.metadata[_HELP]
        for field in dataclasses.fields(settings)
        if _HELP in field.metadata
    }
