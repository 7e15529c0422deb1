# SPDX-License-Identifier: Apache-2.0
"""Sentences from column files: a word a line, with its tag."""

import dataclasses
import re
from collections.abc import Sequence

from kbert.data import tag_schemes
from kbert.text import files

_DOCUMENT = "-DOCSTART-"


@dataclasses.dataclass(frozen=True)
class Sentences:
    """The sentences of one file.

    Attributes:
        path: the file.
        lines: for each sentence the line of its first word, from 1; the
            others follow it.
        words: for each sentence its words.
        tags: for each sentence its words' tags, in IOB2.
        scheme: of the tags in the file: one of `tag_schemes.SCHEMES`.
    """

    path: str
    lines: list[int]
    words: list[list[str]]
    tags: list[list[str]]
    scheme: str

    @property
    def texts(self) -> tuple[list[list[str]]]:
        """As a tagger's server takes them."""
        return (self.words,)

    def __len__(self) -> int:
        """The number of sentences."""
        return len(self.lines)


def read(
    path: str, encoding: str = "utf-8", *, labelled: bool = True
) -> Sentences:
    """Reads sentences and tags.

    A line's first field is a word, its last one the word's tag, whatever is
    between; fields are parted by tabs or, in a line without any, by blanks. A
    line of white space ends a sentence, and so does one that begins with
    -DOCSTART-, as in CoNLL 2003.

    The tags tell their scheme: BIOES if there is an E- or S-; IOB2 if each
    I- continues an entity; else IOB1. No file with an entity is legal in two
    of them: what a sentence's first entity begins with tells IOB1 from IOB2,
    and what it ends with tells BIOES.

    Args:
        path: the file.
        encoding: of the file, as Python names it.
        labelled: whether the tags are wanted; if not, a line's first field
            alone is looked at, and all tags are O.
    Raises: OSError; ValueError, naming file and line, for a line that is not
        of the encoding, that has one field, or whose tag is none or breaks
        the rules of its scheme; ValueError for a file without sentences.
    """
    lines, words, tags = [], [], []
    goes_on = False
    for number, line in enumerate(files.read_lines(path, encoding), start=1):
        if not line.strip() or line.lstrip().startswith(_DOCUMENT):
            goes_on = False
            continue
        word, tag = _fields(f"{path}:{number}", line, labelled)
        if not goes_on:
            lines.append(number)
            words.append([])
            tags.append([])
        goes_on = True
        words[-1].append(word)
        tags[-1].append(tag)
    if not lines:
        raise ValueError(f"{path}: no sentences.")
    scheme = _scheme(path, lines, tags)
    tags = [tag_schemes.to_iob2(row, scheme) for row in tags]
    return Sentences(path, lines, words, tags, scheme)


def tag_ids(sentences: Sentences, labels: Sequence[str]) -> list[list[int]]:
    """The places of all tags in a model's labels.

    Raises: ValueError, naming file and line, for a tag not among them.
    """
    ids = {label: i for i, label in enumerate(labels)}
    for line, row in zip(sentences.lines, sentences.tags, strict=True):
        for number, tag in enumerate(row, start=line):
            if tag not in ids:
                raise ValueError(
                    f"{sentences.path}:{number}: tag {tag!r} is not one of "
                    f"{list(labels)}."
                )
    return [[ids[tag] for tag in row] for row in sentences.tags]


def _fields(where: str, line: str, labelled: bool) -> tuple[str, str]:
    """The word and the tag."""
    parts = line.split("\t") if "\t" in line else re.split(" +", line)
    # A word may be white space of other kinds, which `strip` would delete.
    fields = [part.strip(" ") for part in parts if part.strip(" ")]
    if not labelled:
        return fields[0], "O"
    if len(fields) < 2:
        raise ValueError(
            f"{where}: one field, {line!r}; wanted a word and its tag."
        )
    try:
        tag_schemes.split(fields[-1])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return fields[0], fields[-1]


def _scheme(path: str, lines: list[int], tags: list[list[str]]) -> str:
    """The one whose rules all sentences keep.

    Raises: ValueError, naming the line that breaks the rules of each scheme
        that it may be.
    """
    letters = {tag[0] for row in tags for tag in row}
    if ends := letters & {"E", "S"}:  # of BIOES, or wrong in another
        schemes = ("BIOES", "IOB2", "IOB1")
    elif "B" in letters:
        schemes = ("IOB2", "IOB1")
    else:
        schemes = ("IOB1",) if "I" in letters else ("IOB2",)
    faults = []
    for scheme in schemes:
        found = _first_fault(lines, tags, scheme)
        if found is None:
            return scheme
        faults.append((scheme, *found))
    if ends:
        faults = [max(faults, key=lambda fault: fault[1])]
    (scheme, line, what), *others = faults
    also = "".join(f" (nor {s} in line {n}: {w})" for s, n, w in others)
    raise ValueError(f"{path}:{line}: {what}, which is not {scheme}{also}.")


def _first_fault(lines, tags, scheme) -> tuple[int, str] | None:
    """The line and what stands there."""
    for line, row in zip(lines, tags, strict=True):
        place = tag_schemes.fault(row, scheme)
        if place is None:
            continue
        before = repr(row[place - 1]) if place else "the sentence's start"
        if place == len(row):
            return line + place - 1, f"{before} before the sentence's end"
        return line + place, f"tag {row[place]!r} after {before}"
    return None
