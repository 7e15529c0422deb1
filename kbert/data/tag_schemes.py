# SPDX-License-Identifier: Apache-2.0
"""The ways to mark entities with a tag a word, and their change to IOB2.

Of an entity of type x, the words are tagged, with "O" for all others:
    IOB1   I-x; the first B-x if an entity of the same type ends before it
    IOB2   the first B-x, the others I-x
    BIOES  a single word S-x; of more the first B-x, the last E-x, else I-x
(Tjong Kim Sang and Veenstra 1999, arXiv:cs/9907006, section 2, for IOB1 and
IOB2.)
"""

from collections.abc import Sequence

SCHEMES = ("IOB2", "IOB1", "BIOES")

_OUTSIDE = ("O", "")


def split(tag: str) -> tuple[str, str]:
    """A tag's letter and type, "B-x" to ("B", "x"), "O" to ("O", "").

    Raises: ValueError for what is no tag of any scheme.
    """
    if tag == "O":
        return _OUTSIDE
    letter, dash, name = tag.partition("-")
    if letter not in ("B", "I", "E", "S") or not dash or not name:
        raise ValueError(
            f"tag {tag!r}; wanted O, or B-, I-, E- or S- and a type."
        )
    return letter, name


def fault(tags: Sequence[str], scheme: str) -> int | None:
    """The first place where tags break the rules of a scheme, if any.

    Args:
        tags: of a sentence.
        scheme: one of SCHEMES.
    Returns: a word's place; its number for what its end breaks.
    """
    before = _OUTSIDE
    for place, tag in enumerate([*tags, "O"]):
        now = split(tag)
        if not _RULES[scheme](before, now):
            return place
        before = now
    return None


def to_iob2(tags: Sequence[str], scheme: str) -> list[str]:
    """The tags in IOB2, of a sentence that has no fault in the scheme.

    Example: I-x I-y B-y O in IOB1 is B-x B-y B-y O; B-x E-x S-x in BIOES is
    B-x I-x B-x.
    """
    before, found = _OUTSIDE, []
    for letter, name in map(split, tags):
        if scheme == "BIOES":
            prefix = {"S": "B", "E": "I"}.get(letter, letter)
        else:
            begins = letter == "I" and before[1] != name
            prefix = "B" if begins else letter
        found.append(f"{prefix}-{name}" if name else prefix)
        before = letter, name
    return found


def _iob1(before, now) -> bool:
    """Whether `now` may follow `before`."""
    (_, type_before), (letter, name) = before, now
    if letter == "B":
        return type_before == name
    return letter in "IO"


def _iob2(before, now) -> bool:
    (_, type_before), (letter, name) = before, now
    if letter == "I":
        return type_before == name
    return letter in "BO"


def _bioes(before, now) -> bool:
    (letter_before, type_before), (letter, name) = before, now
    if letter_before in "BI":  # it has to go on
        return letter in "IE" and type_before == name
    return letter in "BSO"


_RULES = {"IOB1": _iob1, "IOB2": _iob2, "BIOES": _bioes}
