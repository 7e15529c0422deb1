# SPDX-License-Identifier: Apache-2.0
"""Distinguishes files of a word a line from files of a text a line.

By their content, as their names do not say it:

    CoNLL      the word first and its tag last, between tabs or blanks; or the
               word alone
    numbered   the words of a sentence are numbered from 1 in the first column
               and are in the second, as in CoNLL-U (whose tag is UPOS, its
               fourth of ten columns) or GermEval (whose tag is the last)
    texts      anything else that is text, if it has no tabs

A file that is nearly one of the first two is refused, and so is what is of no
kind, with its first doubtful line. Where no tag marks an entity, fields may be
the words of short texts, or the cells of a table: the first are refused in a
.txt, the second in a .tsv.
"""

import collections
import re
from collections.abc import Sequence
from typing import NamedTuple

from kbert.data import tables
from kbert.tasks.tagging import tag_schemes

_DOCUMENT = "-DOCSTART-"
_NUMBER = re.compile(r"(\d+)(?:-(\d+)|\.\d+)?")
_UPPER = re.compile("[A-Z]")
_CONLL_U = 10  # columns
_UPOS = 3  # of them
_MOST, _FEW = 0.8, 10  # of the lines; lines that prove nothing
_NO_TEXT = ("{", "[{", '["', "<?xml", "<!DOCTYPE")
_NEEDED = "expected a word and its tag"


class Line(NamedTuple):
    """A line that is not empty.

    Attributes:
        number: from 1.
        text: the line.
        fields: between its tabs, or if it has none its blanks.
        sentence: the number of the sentence that it is of.
    """

    number: int
    text: str
    fields: list[str]
    sentence: int

    @property
    def tabbed(self) -> bool:
        """Whether there are tabs between the fields."""
        return "\t" in self.text


class Layout(NamedTuple):
    """Where words and tags are.

    Attributes:
        word: index of the word's field.
        tag: of the tag's field.
        lines: those of words.
    """

    word: int
    tag: int
    lines: Sequence[Line]


def split(path: str, lines: Sequence[str]) -> list[Line]:
    """The lines of a file that are not empty, in fields.

    A sentence ends at an empty line, and at one that begins with -DOCSTART-,
    as in CoNLL 2003.

    Raises: ValueError, naming the line, for what no text file has.
    """
    found, sentence = [], 0
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise ValueError(f"{path}:{number}: a NUL; expected text.")
        if line.startswith("#begin document"):
            raise ValueError(
                f"{path}:{number}: a file of CoNLL 2012; {_NEEDED} a line, or "
                "CoNLL-U."
            )
        if not line.strip() or line.lstrip().startswith(_DOCUMENT):
            sentence += 1
            continue
        parts = line.split("\t") if "\t" in line else re.split(" +", line)
        # A word may be white space of other kinds, which `strip` would delete.
        fields = [part.strip(" ") for part in parts if part.strip(" ")]
        found.append(Line(number, line, fields or [line], sentence))
    return found


def labelled(path: str, lines: Sequence[Line]) -> Layout:
    """The columns of words and tags.

    Raises: ValueError, naming the first doubtful line, for another file.
    """
    body = _body(lines)
    tags = [_tag(line) for line in body]
    marks = [tag for tag in tags if is_mark(tag)]
    if numbers := _numbered(path, body):
        return _words(*numbers, lines, body)
    if len(marks) == len(tags) or {*marks} - {"O"}:
        _check_marks(path, body)
    elif _separator(path, body) == " ":
        _check_blanks(path, body)
    return _words(0, -1, lines, body)


def unlabelled(path: str, lines: Sequence[Line]) -> Layout | None:
    """The columns, whose last may be the word; None for a text a line.

    Raises: ValueError, naming the first doubtful line, for what is neither.
    """
    body = _body(lines)
    if numbers := _numbered(path, body):
        return _words(*numbers, lines, body)
    tags = [_tag(line) for line in body]
    marks = sum(map(is_mark, tags))
    if marks == len(body):
        return _words(0, -1, lines, body)
    if 2 * marks >= len(body) and any(is_mark(x) and x != "O" for x in tags):
        _check_marks(path, body)
    if tables.extension(path) == ".tsv":
        raise ValueError(
            f"{path}:{body[0].number}: {body[0].text[:40]!r} may be of a table "
            "or of words; name the table's column with --text_columns, or the "
            "file .conll if it has a word a line."
        )
    if _separator(path, body) == "\t":
        return _words(0, -1, lines, body)
    if _is_blank_columns(path, body):
        if len(body) > 1 and tables.extension(path) == ".txt":
            raise ValueError(
                f"{path}:{body[0].number}: {body[0].text[:40]!r} may be a text "
                "or of a word; name the file .conll if it has a word a line, "
                "or give a table of texts (.tsv, .csv, .jsonl or .parquet)."
            )
        return _words(0, -1, lines, body)
    _check_text(path, body[0])
    return None


def _body(lines: Sequence[Line]) -> Sequence[Line]:
    """The lines that are no comments for sure, if there are any."""
    return [x for x in lines if not x.text.startswith("#")] or lines


def _tag(line: Line) -> str:
    return line.fields[-1] if len(line.fields) > 1 else ""


def is_mark(tag: str) -> bool:
    """Whether a tag marks an entity, or is the O of none."""
    try:
        return bool(tag_schemes.split(tag))
    except ValueError:
        return False


def _words(word, tag, lines, body) -> Layout:
    """Without comments, and of numbered words without ranges and gaps.

    A line that begins with # is a comment where words are numbered, or if it
    has other fields than the file's lines of words.
    """
    if word == 1:
        return Layout(1, tag, [x for x in body if x.fields[0].isdecimal()])
    counts, tags = {len(x.fields) for x in body}, {x.fields[-1] for x in body}

    def is_word(line):
        if not line.text.startswith("#") or body is lines:
            return True
        like_a_tag = line.fields[-1] in tags or is_mark(line.fields[-1])
        sure = line.tabbed or len(line.fields) == 1 or like_a_tag
        return len(line.fields) in counts and sure

    return Layout(0, tag, [line for line in lines if is_word(line)])


def _numbered(path: str, body: Sequence[Line]) -> tuple[int, int] | None:
    """Word and tag column of a file whose words are numbered.

    Raises: ValueError for a file with most lines of CoNLL-U.
    """
    wrong = _misnumbered(body)
    if wrong is None and min(len(line.fields) for line in body) > 2:
        _check_words(path, body)
        ten = all(len(line.fields) == _CONLL_U for line in body)
        return 1, _UPOS if ten else -1
    of_conll_u = [
        len(x.fields) == _CONLL_U and bool(_NUMBER.fullmatch(x.fields[0]))
        for x in body
    ]
    if 2 * sum(of_conll_u) < len(body):
        return None
    wrong = wrong or body[of_conll_u.index(False)]
    raise ValueError(
        f"{path}:{wrong.number}: {wrong.text[:40]!r}; expected ten columns of "
        "CoNLL-U, the words of a sentence numbered from 1."
    )


def _misnumbered(body: Sequence[Line]) -> Line | None:
    """The first line whose number does not follow in its sentence.

    1-2 is a word that 1 and 2 make up, 1.1 a word that is not there: both are
    left out.
    """
    sentence, last = -1, 0
    for line in body:
        if line.sentence != sentence:
            sentence, last = line.sentence, 0
        match = _NUMBER.fullmatch(line.fields[0])
        if not match:
            return line
        number = int(match[1])
        if number != last + ("." not in line.fields[0]):
            return line
        last += line.fields[0].isdecimal()
    return None


def _check_marks(path: str, body: Sequence[Line]) -> None:
    """Raises: ValueError at the first line that has no tag of an entity."""
    for line in body:
        where = f"{path}:{line.number}"
        if not _tag(line):
            raise ValueError(f"{where}: one field, {line.text!r}; {_NEEDED}.")
        try:
            tag_schemes.split(_tag(line))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def _separator(path: str, body: Sequence[Line]) -> str:
    r"""Tab or blank, as all lines have it.

    Raises: ValueError where tabs do not make columns, or not of words.
    """
    tabbed = [line.tabbed for line in body]
    if not any(tabbed):
        return " "
    most = 2 * sum(tabbed) >= len(body)
    if not all(tabbed):
        line = body[tabbed.index(not most)]
        has, what = ("no tab", "tabs") if most else ("a tab", "none")
        raise ValueError(
            f"{path}:{line.number}: {has}, but other lines have {what}; "
            f"expected {_KINDS}."
        )
    _check_counts(path, body)
    _check_words(path, body)
    return "\t"


_KINDS = (
    "columns with a word a line, or a text a line; tables are read from .tsv, "
    ".csv, .jsonl or .parquet"
)


def _check_words(path: str, body: Sequence[Line]) -> None:
    """Raises: ValueError where columns are those of a table with texts."""
    several = [
        (line.number, field)
        for line in body
        if (field := next((x for x in line.fields if " " in x), None))
    ]
    if 2 * len(several) > len(body):
        number, field = several[0]
        raise ValueError(
            f"{path}:{number}: {field[:40]!r} in a column: more than a word; "
            f"expected {_KINDS}."
        )


def _check_counts(path: str, body: Sequence[Line]) -> None:
    """Raises: ValueError at the first line with other fields than most."""
    counts = collections.Counter(len(line.fields) for line in body)
    ((most, _),) = counts.most_common(1)
    for line in body:
        if len(line.fields) == most:
            continue
        found = f"{len(line.fields)} fields"
        if len(line.fields) == 1:
            found = f"one field, {line.text!r}"
        raise ValueError(
            f"{path}:{line.number}: {found}, but {most} in most lines; "
            f"{_NEEDED} in columns."
        )


def _check_blanks(path: str, body: Sequence[Line]) -> None:
    """Raises: ValueError if blanks part words of texts, not columns."""
    line = body[0]
    counts = collections.Counter(len(line.fields) for line in body)
    ((most, lines),) = counts.most_common(1)
    few = 2 * len({x.fields[-1] for x in body}) <= len(body)
    if most == 1:
        line = next(x for x in body if len(x.fields) == 1)
        raise ValueError(
            f"{path}:{line.number}: one field, {line.text!r}; {_NEEDED}."
        )
    is_table = most == 2 or few or _like_tags(body)
    if 2 * lines < len(body) or not is_table:
        raise ValueError(
            f"{path}:{line.number}: {line.text[:40]!r} looks like a text; "
            f"{_NEEDED} in columns."
        )
    _check_counts(path, body)


def _is_blank_columns(path: str, body: Sequence[Line]) -> bool:
    """Whether blanks part columns, not the words of texts.

    Raises: ValueError if they do in most lines.
    """
    counts = collections.Counter(len(line.fields) for line in body)
    ((count, lines),) = counts.most_common(1)
    if lines < len(body):
        if len(body) >= _FEW and lines >= _MOST * len(body):
            _check_counts(path, body)
        return False
    if count == 1:
        return True
    tags = {line.fields[-1] for line in body}
    sentences = len({line.sentence for line in body})
    long = sentences > 1 and len(body) >= 2 * sentences
    if _like_tags(body) and (long or count == 2):
        return True
    lower = all(tag == tag.lower() for tag in tags)
    return long and lower and 1 < len(tags) <= len(body) / 2


def _check_text(path: str, line: Line) -> None:
    """Raises: ValueError for a first line that is no text."""
    if line.text.lstrip().startswith(_NO_TEXT) or line.text == "[":
        raise ValueError(
            f"{path}:{line.number}: {line.text[:40]!r}: JSON or XML; expected "
            "a text a line, or a word a line."
        )


def _like_tags(body: Sequence[Line]) -> bool:
    """Whether the last column is like NN, VBD and a full stop."""
    last = [line.fields[-1] for line in body]
    named = sum(bool(_UPPER.search(tag)) for tag in last)
    return (
        len({*last}) > 1
        and all(tag == tag.upper() for tag in last)
        and 2 * named >= len(last)
        and any(line.fields[0] != line.fields[0].upper() for line in body)
    )
