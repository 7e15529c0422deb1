# SPDX-License-Identifier: Apache-2.0
"""Sentences from column files: a word a line, with its tag."""

import dataclasses
from collections.abc import Sequence
from itertools import chain

from kbert.data import tables
from kbert.data.tables import Rows, where
from kbert.tasks.tagging import tag_schemes, word_columns
from kbert.text import text_files


@dataclasses.dataclass(frozen=True)
class Sentences:
    """The sentences of one file.

    Attributes:
        path: the file.
        word_lines: for each sentence the lines of its words, from 1.
        words: for each sentence its words.
        tags: for each sentence its words' tags: in IOB2 if they mark
            entities, and else as they are; all O where none were read.
        scheme: of the tags in the file: one of `tag_schemes.SCHEMES`;
            "lenient" if they were read so, or None if they mark no entities.
    """

    path: str
    word_lines: list[list[int]]
    words: list[list[str]]
    tags: list[list[str]]
    scheme: str | None

    @property
    def lines(self) -> list[int]:
        """For each sentence the line of its first word."""
        return [lines[0] for lines in self.word_lines]

    @property
    def texts(self) -> tuple[list[list[str]]]:
        """As a tagger's predictor takes them."""
        return (self.words,)

    def __len__(self) -> int:
        """The number of sentences."""
        return len(self.words)


def read(
    path: str, encoding: str = "utf-8", *, lenient: bool = False
) -> Sentences:
    """Reads sentences and tags.

    A line's first field is a word, its last one the word's tag, whatever is
    between; fields are parted by tabs or, in a line without any, by blanks.
    CoNLL-U is recognized by its numbers: its words are FORM, their tags UPOS.
    Lines that begin with # and have other fields are comments. A line of white
    space ends a sentence, and so does one that begins with -DOCSTART-.

    Tags O, and B-, I-, E-, S-, L-, U- or M- and a type, mark entities and
    show their scheme: BIOES if there is an E- or S-, BILOU if there is an L- or
    U-, BMES if there is an M-; IOB2 if each I- continues an entity; else IOB1.
    No file with an entity marks others in another of them: what a sentence's
    first entity begins with distinguishes IOB1 from IOB2, and what it ends
    with shows BIOES. If no tag marks an entity, they are classes of words, such
    as parts of speech.

    Args:
        path: the file.
        encoding: of the file, as Python names it.
        lenient: whether tags may break the rules of their scheme; entities
            are then those of CoNLL's conlleval: see `tag_schemes.to_iob2`.
    Raises: OSError; ValueError, naming file and line, for a line that is not
        of the encoding, that has one field, or whose tag is none or breaks
        the rules of its scheme; for the first doubtful line of a file of
        another kind; ValueError for a file without sentences.
    """
    lines = word_columns.split(path, [*text_files.read_lines(path, encoding)])
    if not lines:
        raise ValueError(f"{path}: no sentences.")
    layout = word_columns.labelled(path, lines)
    found = _sentences(path, layout)
    tags = [[word[2] for word in sentence] for sentence in found]
    word_lines = [[word[0] for word in sentence] for sentence in found]
    scheme = None
    if _mark_entities(path, word_lines, tags):
        scheme = "lenient" if lenient else _scheme(path, word_lines, tags)
        tags = [tag_schemes.to_iob2(row) for row in tags]
    words = [[word[1] for word in sentence] for sentence in found]
    return Sentences(path, word_lines, words, tags, scheme)


def of_lists(
    lines: list[list[int]], words: list[list[str]], tags: list[list[str]]
) -> Sentences:
    """Sentences of Python's lists, whose tags are read as those of a file.

    Raises: ValueError, naming the row, for a tag that breaks the rules of its
        scheme.
    """
    if not _mark_entities("", lines, tags):
        return Sentences("", lines, words, tags, None)
    scheme = _scheme("", lines, tags)
    return Sentences(
        "", lines, words, [tag_schemes.to_iob2(row) for row in tags], scheme
    )


def read_texts(path: str, encoding: str = "utf-8") -> Sentences | Rows:
    """Reads what is to be tagged: columns as `read` does, or a text a line.

    The tags of columns are ignored, and there may be none. A text may
    be an empty line.

    Args:
        path: the file.
        encoding: of the file, as Python names it.
    Raises: OSError; ValueError, naming file and line, for a line that is not
        of the encoding, for the first doubtful line of a file that is of no
        such kind; ValueError for a file without any.
    """
    texts = [*text_files.read_lines(path, encoding)]
    lines = word_columns.split(path, texts)
    if not lines:
        raise ValueError(f"{path}: no sentences.")
    layout = word_columns.unlabelled(path, lines)
    if layout is None:
        tables.check_no_header(path, texts[0], ["text"])
        return Rows(path, [*range(1, len(texts) + 1)], (texts,), None)
    found = _sentences(path, layout._replace(tag=layout.word))
    words = [[word[1] for word in sentence] for sentence in found]
    return Sentences(
        path,
        [[word[0] for word in sentence] for sentence in found],
        words,
        [["O"] * len(row) for row in words],
        None,
    )


def _sentences(
    path: str, layout: word_columns.Layout
) -> list[list[tuple[int, str, str]]]:
    """Line, word and tag of each word of each sentence."""
    found, number = [], None
    for line in layout.lines:
        if line.sentence != number:
            number = line.sentence
            found.append([])
        word, tag = line.fields[layout.word], line.fields[layout.tag]
        if layout.word != layout.tag and layout.word and tag == "_":
            raise ValueError(
                f"{path}:{line.number}: tag '_', which is none; expected one "
                "of each word."
            )
        found[-1].append((line.number, word, tag))
    return found


def _mark_entities(
    path: str, lines: list[list[int]], tags: list[list[str]]
) -> bool:
    """Whether tags mark entities; else they are classes.

    Raises: ValueError, naming the line, for a tag that marks none, such as
        "B-", where another does or is like one that does.
    """
    wrong, marks = None, False
    for number, tag in zip(chain(*lines), chain(*tags), strict=True):
        marks |= tag[:2] in tag_schemes.PREFIXES
        try:
            tag_schemes.split(tag)
        except ValueError as error:
            wrong = wrong or f"{path}:{number}: {error}"
    if wrong and marks:
        raise ValueError(wrong)
    return not wrong


def labels_by_word(sentences: Sentences) -> list[list[str]]:
    """Of each word the type of its entity, if it is in one, or its class."""
    tags = chain(*sentences.tags)
    if sentences.scheme is None:
        return [[tag] for tag in tags]
    return [[tag[2:]] if tag != "O" else [] for tag in tags]


def tags_by_labels(
    sentences: Sentences, labels: Sequence[str]
) -> list[list[str]]:
    """The tags of all words as a model's labels mark the same entities."""
    if sentences.scheme is None:
        return sentences.tags
    return [tag_schemes.in_scheme_of(labels, row) for row in sentences.tags]


def tag_ids(sentences: Sentences, labels: Sequence[str]) -> list[list[int]]:
    """The positions of all tags in a model's labels, of whatever scheme.

    Raises: ValueError, naming file and line, for a tag not among them.
    """
    ids = {label: i for i, label in enumerate(labels)}
    rows = tags_by_labels(sentences, labels)
    for lines, row in zip(sentences.word_lines, rows, strict=True):
        for number, tag in zip(lines, row, strict=True):
            if tag not in ids:
                raise ValueError(
                    f"{where(sentences.path, number)}: tag {tag!r} is not one "
                    f"of {list(labels)}."
                )
    return [[ids[tag] for tag in row] for row in rows]


_ENDS = {"BIOES": "ES", "BILOU": "LU", "BMES": "M"}


def _scheme(path: str, lines: list[list[int]], tags: list[list[str]]) -> str:
    """The one whose rules all sentences keep.

    Raises: ValueError, naming the line that breaks the rules of each scheme
        that it may be.
    """
    letters = {tag[0] for row in tags for tag in row}
    # Schemes with such letters, or they are wrong in another.
    ends = [scheme for scheme, its in _ENDS.items() if letters & {*its}]
    if ends:
        schemes = (*ends, "IOB2", "IOB1")
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
    raise ValueError(
        f"{where(path, line)}: {what}, which is not {scheme}{also}; "
        "--tag_scheme=lenient reads it as conlleval does."
    )


def _first_fault(lines, tags, scheme) -> tuple[int, str] | None:
    """Its line, and what is wrong."""
    for line, row in zip(lines, tags, strict=True):
        index = tag_schemes.fault(row, scheme)
        if index is None:
            continue
        before = repr(row[index - 1]) if index else "the sentence's start"
        if index == len(row):
            return line[-1], f"{before} before the sentence's end"
        return line[index], f"tag {row[index]!r} after {before}"
    return None
