# SPDX-License-Identifier: Apache-2.0
"""Prints a summary of the rows before a model is trained on them."""

import collections
import math
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from kbert.markdown import table
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.rows import DataOptions, Rows

_SHOWN = 20  # labels, the most frequent if there are more


def show(
    task: type[LabelledTask],
    options: DataOptions,
    train: Rows,
    dev: Rows | None,
) -> None:
    """Prints the counts of the labels, and how many rows of dev are in train.

    On stderr it names labels that differ only in blanks, in case or in how
    Unicode spells them: they are different labels.
    """
    counts = [task.label_counts(rows, options) for rows in (train, dev) if rows]
    names = list(dict.fromkeys(options.labels or ()))
    names += sorted({x for found in counts for x in found} - {*names}, key=_key)
    if names:
        print(_label_table(names, counts), flush=True)
    for group in _alike(names):
        print(
            f"{train.path}: labels {', '.join(map(repr, group))} differ only "
            "in blanks or case; each counts as a label",
            file=sys.stderr,
        )
    if dev and (found := count_shared(train, dev)):
        print(
            f"{dev.path}: {found:,} of {len(dev):,} rows have texts that are "
            f"in {train.path} too",
            flush=True,
        )


def count_shared(train: Rows, dev: Rows) -> int:
    """How many rows of dev have the texts of a row of train."""
    seen = set(map(hash, _texts(train)))
    return sum(hash(texts) in seen for texts in _texts(dev))


def _texts(rows: Rows) -> Iterator[tuple]:
    for texts in zip(*rows.texts, strict=True):
        yield tuple(x if isinstance(x, str) else tuple(x) for x in texts)


def _key(name: str) -> tuple[float, str]:
    """Numbers in their order, before other names."""
    try:
        return float(name), name
    except ValueError:
        return math.inf, name


def _label_table(
    names: Sequence[str], counts: Sequence[Mapping[str, int]]
) -> str:
    head = ("label", "train", "dev")[: 1 + len(counts)]
    if len(names) > _SHOWN:
        train = counts[0]
        names = sorted(names, key=lambda x: -train.get(x, 0))
    rows = [(x, *(found.get(x, 0) for found in counts)) for x in names]
    rest = [row[1:] for row in rows[_SHOWN:]]
    rows = rows[:_SHOWN]
    if rest:
        sums = map(sum, zip(*rest, strict=True))
        rows.append((f"{len(rest):,} others", *sums))
    return table(head, rows, terminal=True)


def _alike(names: Sequence[str]) -> Iterator[list[str]]:
    groups = collections.defaultdict(list)
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        groups[" ".join(plain.split())].append(name)
    return (group for group in groups.values() if len(group) > 1)
