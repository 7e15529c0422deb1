# SPDX-License-Identifier: Apache-2.0
"""Markdown of texts that are not our own: tables, code, YAML's front matter."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# What YAML reads as a text as it stands; "no" and "on" are booleans there.
_PLAIN = re.compile(
    r"(?!(?:[yn]|yes|no|on|off|true|false|null)$)[a-z][\w.-]*", re.IGNORECASE
)
# Characters that YAML has in no text, or breaks lines at.
_UNPRINTABLE = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    terminal: bool = False,
) -> str:
    """Columns stand below each other; numbers to the right, to four places.

    nan, which is no number, is a dash. Texts are escaped; on a terminal that
    shows them as they are, only what would end a cell is.
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
    r"""One line that reads as the text does: no HTML, no markup, no links.

    A "_" inside a word is none to Markdown, and stays.

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
    """A block of code, of any text: its fence is longer than those inside."""
    text = text.encode("utf-8", "replace").decode()
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def front_matter(fields: Mapping[str, str | Sequence[str]]) -> str:
    """The YAML that a model card begins with: texts and lists of texts."""
    lines = ["---"]
    for name, value in fields.items():
        if isinstance(value, str):
            lines.append(f"{name}: {_yaml(value)}")
        else:
            lines += [f"{name}:", *(f"- {_yaml(item)}" for item in value)]
    return "\n".join([*lines, "---"])


def _yaml(text: str) -> str:
    """A text of YAML: as it stands, or as JSON's, which are YAML's too."""
    if _PLAIN.fullmatch(text, 0) and text.isascii():
        return text
    text = text.encode("utf-8", "replace").decode()
    return _UNPRINTABLE.sub(
        lambda found: f"\\u{ord(found[0]):04x}",
        json.dumps(text, ensure_ascii=False),
    )
