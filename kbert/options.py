# SPDX-License-Identifier: Apache-2.0
"""Fields of dataclasses that are flags of the commands too."""

import dataclasses
import enum
from typing import Any

_HELP = "help"


class _Missing(enum.Enum):
    NONE = enum.auto()


def option(help: str, default: Any = _Missing.NONE) -> Any:
    """A field of a dataclass, whose flag has this help.

    Args:
        help: as `--help` prints it.
        default: of the field; without one it has none.
    """
    given = {} if default is _Missing.NONE else {"default": default}
    return dataclasses.field(**given, metadata={_HELP: help})


def helps(settings: Any) -> dict[str, str]:
    """The help of each field that `option` made, by its name."""
    return {
        field.name: field.metadata[_HELP]
        for field in dataclasses.fields(settings)
        if _HELP in field.metadata
    }
