# SPDX-License-Identifier: Apache-2.0
"""Tables to read, in Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns stand below each other; numbers to the right, to four places.

    nan, which is no number, is a dash.
    """
    cells = [list(head), *([_cell(x) for x in row] for row in rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        first, *others = zip(row, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(x.rjust(w) for x, w in others)]
        lines.append("| " + " | ".join(padded) + " |")
    rules = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    lines.insert(1, "| " + " | ".join(rules) + " |")
    return "\n".join(lines)


def _cell(value) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ")
