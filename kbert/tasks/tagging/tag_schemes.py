# SPDX-License-Identifier: Apache-2.0
"""The ways to mark entities with a tag a word, and their conversion to IOB2.

Of an entity of type x, the words are tagged, with "O" for all others:
    IOB1   I-x; the first B-x if an entity of the same type ends before it
    IOB2   the first B-x, the others I-x
    BIOES  a single word S-x; of more the first B-x, the last E-x, else I-x
    BILOU  the same with U-x for S-x, and L-x for E-x
    BMES   BIOES with M-x for I-x
(Tjong Kim Sang and Veenstra 1999, arXiv:cs/9907006, section 2, for IOB1 and
IOB2.)
"""

from collections.abc import Sequence

SCHEMES = ("IOB2", "IOB1", "BIOES", "BILOU", "BMES")

PREFIXES = ("B-", "I-", "E-", "S-", "L-", "U-", "M-")
_OUTSIDE = ("O", "")


def split(tag: str) -> tuple[str, str]:
    """A tag's letter and type, "B-x" to ("B", "x"), "O" to ("O", "").

    Raises: ValueError for what is no tag of any scheme.
    """
    if tag == "O":
        return _OUTSIDE
    letter, dash, name = tag.partition("-")
    if letter + dash not in PREFIXES or not name:
        raise ValueError(
            f"tag {tag!r}; expected O, or B-, I-, E-, S-, L-, U- or M- and a "
            "type."
        )
    return letter, name


def fault(tags: Sequence[str], scheme: str) -> int | None:
    """The first word whose tag breaks the rules of a scheme, if any.

    Args:
        tags: of a sentence.
        scheme: one of SCHEMES.
    Returns: its index; the number of words if the end breaks them.
    """
    before = _OUTSIDE
    for index, tag in enumerate([*tags, "O"]):
        now = split(tag)
        if not _RULES[scheme](before, now):
            return index
        before = now
    return None


def to_iob2(tags: Sequence[str]) -> list[str]:
    """The tags of a sentence in IOB2, whatever their scheme.

    Where tags break the rules of each scheme, the entities are those that
    CoNLL's conlleval finds (Tjong Kim Sang and De Meulder 2003,
    doi:10.3115/1119176.1119195, section 2): one begins at a B-, S- or U-, at
    another type, and after O, E-, S-, L- or U-.

    Example: I-x I-y B-y O in IOB1 is B-x B-y B-y O; B-x E-x S-x in BIOES is
    B-x I-x B-x; O I-x E-y, of none, is O B-x B-y.
    """
    before, found = _OUTSIDE, []
    for letter, name in map(split, tags):
        begins = letter in "BSU" or before[1] != name or before[0] in "ESLU"
        found.append(f"{'B' if begins else 'I'}-{name}" if name else "O")
        before = letter, name
    return found


def in_scheme_of(labels: Sequence[str], tags: Sequence[str]) -> list[str]:
    """IOB2 tags of a sentence as a model's labels mark the same entities.

    Example: B-x I-x I-x B-y for labels I-x and I-y is I-x I-x I-x I-y; where
    there are B-, I-, E- and S- of both it is B-x I-x E-x S-y. A type that has
    no label keeps its tag.
    """
    known, found = {*labels}, []
    for tag, after in zip(tags, [*tags[1:], "O"], strict=True):
        letter, name = split(tag)
        letters = _LETTERS[letter == "B", after != f"I-{name}"]
        fitting = (f"{x}-{name}" for x in letters if f"{x}-{name}" in known)
        found.append(next(fitting, tag))
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
    if letter_before in "BI":  # its entity has to continue
        return letter in "IE" and type_before == name
    return letter in "BSO"


def _bilou(before, now) -> bool:
    (letter_before, type_before), (letter, name) = before, now
    if letter_before in "BI":
        return letter in "IL" and type_before == name
    return letter in "BUO"


def _bmes(before, now) -> bool:
    (letter_before, type_before), (letter, name) = before, now
    if letter_before in "BM":
        return letter in "ME" and type_before == name
    return letter in "BSO"


_RULES = {
    "IOB1": _iob1,
    "IOB2": _iob2,
    "BIOES": _bioes,
    "BILOU": _bilou,
    "BMES": _bmes,
}
# What a word may be marked with, by whether its entity begins and ends there.
_LETTERS = {
    (True, True): "SUBI",
    (True, False): "BI",
    (False, True): "ELI",
    (False, False): "IM",
}
