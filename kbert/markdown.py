# SPDX-License-Identifier: Apache-2.0
"""Formats untrusted text as Markdown: tables, code, YAML front matter."""

import importlib.resources
import json
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# Text that YAML reads as a string without quotes; "no" and "on" are booleans.
_PLAIN = re.compile(
    r"(?!(?:[yn]|yes|no|on|off|true|false|null)$)[a-z][\w.-]*", re.IGNORECASE
)
# Characters that YAML does not allow in strings, or treats as line breaks.
_UNPRINTABLE = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")


def fill(package: str, template: str, **parts: object) -> str:
    """Fills the $placeholders of a template file of a package.

    Placeholders that stand alone on a line and are empty leave no blank lines.

    Args:
        package: such as "kbert.runs".
        template: the file's name in the package's templates/.
        **parts: the value of each placeholder.
    Raises: KeyError for a placeholder without a value.
    """
    folder = importlib.resources.files(package) / "templates"
    text = (folder / template).read_text("utf-8")
    empty = [name for name, value in parts.items() if value == ""]
    for name in empty:
        text = text.replace(f"${name}\n\n", "").replace(f"\n${name}\n", "")
    return string.Template(text).substitute(parts)


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    terminal: bool = False,
) -> str:
    """Formats a table with aligned columns; floats have four decimals.

    A nan becomes a dash. Text is escaped for Markdown; for a terminal only
    characters that would end a cell are.
    """
    text = _in_one_cell if terminal else escape
    cells = [[_cell(x, text) for x in row] for row in (head, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        first, *others = zip(row, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(x.rjust(w) for x, w in others)]
        lines.append("| " + " | ".join(padded) + " |")
    rules = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    lines.insert(1, "| " + " | ".join(rules) + " |")
    return "\n".join(lines)


def _cell(value, text: Callable[[str], str]) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4f}"
    if isinstance(value, int):
        return f"{value:,}"
    return text(str(value))


def _in_one_cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def escape(text: str) -> str:
    r"""Escapes text to one line without HTML, markup or links.

    A "_" inside a word has no meaning in Markdown and is kept.

    Example: "a|b <i>" is "a\|b &lt;i&gt;".
    """
    text = " ".join(re.split(r"[\s\x00-\x1f\x7f]+", text))
    text = text.encode("utf-8", "replace").decode()  # lone surrogates
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"[\\`*\[\]|~$#]", r"\\\g<0>", text)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
    text = text.replace("://", "&#58;//")
    return re.sub(r"\b(www)\.", r"\1&#46;", text, flags=re.IGNORECASE)


def code(text: str, language: str = "") -> str:
    """Formats text as a code block, with a fence longer than those in it."""
    text = text.encode("utf-8", "replace").decode()
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def front_matter(fields: Mapping[str, str | Sequence[str]]) -> str:
    """Formats strings and lists of strings as the YAML head of a model card."""
    lines = ["---"]
    for name, value in fields.items():
        if isinstance(value, str):
            lines.append(f"{name}: {_yaml(value)}")
        else:
            lines += [f"{name}:", *(f"- {_yaml(item)}" for item in value)]
    return "\n".join([*lines, "---"])


def _yaml(text: str) -> str:
    """Formats a YAML string: plain if possible, else as a JSON string."""
    if _PLAIN.fullmatch(text, 0) and text.isascii():
        return text
    text = text.encode("utf-8", "replace").decode()
    return _UNPRINTABLE.sub(
        lambda found: f"\\u{ord(found[0]):04x}",
        json.dumps(text, ensure_ascii=False),
    )
