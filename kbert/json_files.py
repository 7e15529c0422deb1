# SPDX-License-Identifier: Apache-2.0
"""Reads JSON files: limited in size, parsed strictly, checked against a type.

    class Entry(TypedDict):
        rows: Annotated[int, Range(at_least=0)]

    class Manifest(TypedDict):
        format_version: Literal[1]
        lower_case: NotRequired[bool]
        files: dict[str, Entry]

    manifest = read("records.json", Manifest)

Types are bool, int, float, str, None, Any, Literal, `X | None`, `list[X]`,
`tuple[X, ...]`, Sequence[X], `dict[str, X]`, Mapping[str, X], a TypedDict or
a dataclass (its fields; those with a default may be missing), and Annotated
numbers with a Range. True is not an int, an int is accepted as a float, and
floats are finite. Errors have one line: the file, the field as in
`trials[3].score`, what was found, what is needed.
"""

import collections.abc
import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from kbert.input_files import check_regular

MAX_BYTES = 64 * 2**20  # far above any settings file or tokenizer.json
_MAX_DEPTH = 100  # far below what any recursion can take
_MAX_INT = 2**63 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """A range of numbers.

    Attributes:
        at_least: the lowest number.
        more_than: an exclusive lower limit.
        at_most: the highest number.
        less_than: an exclusive upper limit.
        finite: whether NaN and the infinities are refused.
    """

    at_least: float = -math.inf
    more_than: float | None = None
    at_most: float = math.inf
    less_than: float | None = None
    finite: bool = True

    def __contains__(self, value: float) -> bool:
        """Returns whether a number is in the range."""
        if not math.isfinite(value):
            return not self.finite
        return (
            self.at_least <= value <= self.at_most
            and (self.more_than is None or value > self.more_than)
            and (self.less_than is None or value < self.less_than)
        )

    def __str__(self) -> str:
        """Describes the range, such as "0 <= x < 1"."""
        low = f"{self.at_least:,} <= " if self.at_least > -math.inf else ""
        low = low if self.more_than is None else f"{self.more_than:,} < "
        high = f" <= {self.at_most:,}" if self.at_most < math.inf else ""
        high = high if self.less_than is None else f" < {self.less_than:,}"
        return f"{low}x{high}" if low or high else "a finite number"


def read(
    path: str | os.PathLike,
    schema: Any = dict[str, Any],
    *,
    others: Any = None,
    max_bytes: int = MAX_BYTES,
) -> Any:
    """Reads and checks a JSON file.

    Args:
        path: a regular file, UTF-8.
        schema: a type, see the module's docstring.
        others: the type of fields of the outermost object that the schema does
            not have; None to refuse them.
        max_bytes: the maximum size of the file.
    Raises: ValueError, naming file and field; OSError.
    """
    return check(_parse_file(path, max_bytes), schema, path, others=others)


def read_lines(
    path: str | os.PathLike,
    schema: Any = dict[str, Any],
    *,
    others: Any = None,
) -> Iterator[Any]:
    """Yields the objects of a JSON Lines file; see `read`.

    A last line without a newline is skipped: its writer was stopped.

    Raises: ValueError, naming file, line and field; OSError.
    """
    text = _read_text(path, MAX_BYTES)
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        if line.strip():
            value = parse(line, path, line=number)
            where = f"{os.fspath(path)}:{number}"
            yield check(value, schema, where, others=others)


def parse(text: str, path: str | os.PathLike, *, line: int = 1) -> Any:
    """Parses a JSON text.

    Args:
        text: the JSON.
        path: the path of its file, or another name, for messages.
        line: the line of the file where the text starts, from 1.
    Raises: ValueError, naming the path and the line, if the text is not JSON,
        if a number has thousands of digits, if an object has a field twice,
        or if it is nested more than a hundred levels deep.
    """
    where = f"{os.fspath(path)}:{line}"
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        at = f"{os.fspath(path)}:{line + error.lineno - 1}"
        raise ValueError(
            f"{at}: not JSON: {error.msg} at column {error.colno}."
        ) from None
    except RecursionError:
        raise ValueError(f"{where}: JSON that is {_TOO_DEEP}.") from None
    except ValueError as error:  # from `_object`, or an int of many digits
        reason = str(error).partition(";")[0].rstrip(".")
        raise ValueError(f"{where}: not JSON: {reason}.") from None
    if text.count("[") + text.count("{") > _MAX_DEPTH and _is_deep(value):
        raise ValueError(f"{where}: JSON that is {_TOO_DEEP}.")
    return value


def check(
    value: Any,
    schema: Any,
    where: str | os.PathLike,
    *,
    others: Any = None,
) -> Any:
    """Checks a parsed JSON value against a type.

    Args:
        value: the value.
        schema: a type, see the module's docstring.
        where: its name in messages; "" if the field's name is enough.
        others: as for `read`.
    Returns: the value, with ints converted where the schema has floats.
    Raises: ValueError, naming the field.
    """
    return _check(value, schema, _Where(os.fspath(where)), others)


def shown(value: Any) -> str:
    """Formats a value for a message: JSON, truncated to 60 characters."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


_TOO_DEEP = f"nested more than {_MAX_DEPTH} levels deep"


def _parse_file(path, max_bytes):
    return parse(_read_text(path, max_bytes), path)


def _read_text(path, max_bytes):
    size = check_regular(path)
    if size > max_bytes:
        raise ValueError(
            f"{os.fspath(path)}: {size:,} bytes; needs at most {max_bytes:,}."
        )
    with open(path, "rb") as file:
        content = file.read(max_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{os.fspath(path)}:{line}: not JSON: byte "
            f"0x{content[error.start]:02x} is not UTF-8."
        ) from None


def _object(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {shown(twice)} occurs twice")
    return found


def _is_deep(value):
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        level = [
            child
            for parent in level
            for child in (
                parent.values() if isinstance(parent, dict) else parent
            )
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


class _Where:
    """The name of a value in messages: its file and its path of fields."""

    def __init__(self, outer, field=""):
        self._outer, self._field = outer, field

    def __getitem__(self, index):
        return _Where(self._outer, f"{self._field}[{index}]")

    def field(self, name):
        dot = "." if self._field else ""
        name = name if name.isidentifier() else shown(name)
        return _Where(self._outer, f"{self._field}{dot}{name}")

    @property
    def _at(self):
        return f"{self._outer}: " if self._outer else ""

    def error(self, value, needed):
        is_field = f"{self._field} is " if self._field else ""
        return ValueError(
            f"{self._at}{is_field}{shown(value)}; needs {needed}."
        )

    def wrong_fields(self, text):
        of_field = f"{self._field}: " if self._field else ""
        return ValueError(f"{self._at}{of_field}{text}.")


def _check(value, schema, where, others=None):
    origin, arguments = typing.get_origin(schema), typing.get_args(schema)
    if origin in _CHECKS:
        return _CHECKS[origin](value, arguments, where)
    if _is_object(schema):
        return _check_fields(value, schema, where, others)
    return _check_plain(value, schema, where)


def _check_plain(value, schema, where):
    if schema is Any:
        return value
    if schema is None or schema is types.NoneType:
        if value is not None:
            raise where.error(value, "null")
        return value
    if schema in (int, float):
        return _check_number(value, (schema, Range()), where)
    if type(value) is not schema:
        raise where.error(value, _NAMES[schema])
    if schema is str:
        _check_characters(value, where)
    return value


def _check_number(value, arguments, where):
    schema, limits = arguments
    is_number = type(value) is schema or (
        schema is float and type(value) is int
    )
    if not is_number:
        raise where.error(value, _NAMES[schema])
    if type(value) is int and abs(value) > _MAX_INT:
        raise where.error(value, "a number of less than 64 bits")
    if value not in limits:
        raise where.error(value, limits)
    return schema(value)


def _check_characters(text, where):
    try:
        text.encode()
    except UnicodeEncodeError:
        raise where.error(text, "no half of a surrogate pair") from None


def _check_union(value, arguments, where):
    if value is None and types.NoneType in arguments:
        return None
    kinds = [x for x in arguments if x is not types.NoneType]
    for kind in kinds[:-1]:
        if type(value) is (typing.get_origin(kind) or kind):
            return _check(value, kind, where)
    return _check(value, kinds[-1], where)


def _check_literal(value, arguments, where):
    if not any(type(value) is type(x) and value == x for x in arguments):
        one_of = "one of " if len(arguments) > 1 else ""
        choices = ", ".join(map(shown, arguments))
        raise where.error(value, f"{one_of}{choices}")
    return value


def _check_list(value, arguments, where):
    if not isinstance(value, list | tuple):
        raise where.error(value, "a list")
    return [_check(x, arguments[0], where[i]) for i, x in enumerate(value)]


def _check_mapping(value, arguments, where):
    if not isinstance(value, Mapping):
        raise where.error(value, "an object")
    for name in value:
        _check_plain(name, str, where)
    if arguments[1] is Any:
        return dict(value)
    return {
        name: _check(x, arguments[1], where.field(name))
        for name, x in value.items()
    }


def _is_object(schema):
    return dataclasses.is_dataclass(schema) or typing.is_typeddict(schema)


def _check_fields(value, schema, where, others):
    if not isinstance(value, Mapping):
        raise where.error(value, "an object")
    hints = typing.get_type_hints(schema, include_extras=True)
    # First: a wrong format_version explains missing and unknown fields.
    known = {
        name: _check(value[name], hint, where.field(name))
        for name, hint in hints.items()
        if name in value
    }
    if missing := sorted(_required(schema) - value.keys()):
        raise where.wrong_fields(f"fields {missing} are missing")
    unknown = sorted(value.keys() - hints.keys())
    if unknown and others is None:
        raise where.wrong_fields(f"unknown fields {shown(unknown)}")
    rest = {
        name: _check(value[name], others, where.field(name)) for name in unknown
    }
    return {name: {**known, **rest}[name] for name in value}


def _required(schema):
    if typing.is_typeddict(schema):
        return schema.__required_keys__
    return {
        field.name
        for field in dataclasses.fields(schema)
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    }


_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
}
_CHECKS = {
    typing.Annotated: _check_number,
    typing.Union: _check_union,
    types.UnionType: _check_union,
    typing.Literal: _check_literal,
    typing.Required: lambda value, kinds, where: _check(value, kinds[0], where),
    typing.NotRequired: lambda value, kinds, where: _check(
        value, kinds[0], where
    ),
    list: _check_list,
    tuple: _check_list,
    collections.abc.Sequence: _check_list,
    dict: _check_mapping,
    collections.abc.Mapping: _check_mapping,
}
