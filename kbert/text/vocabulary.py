# SPDX-License-Identifier: Apache-2.0
"""WordPiece vocabularies: loaded, saved, and learned from text."""

import collections
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NotRequired, TypedDict

import tokenizers
from tokenizers import normalizers, pre_tokenizers, trainers
from tokenizers.models import WordPiece

from kbert import atomic_files, json_files
from kbert.text import text_files

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
VOCABULARY_FILE = "vocab.txt"  # one token per line, in the order of the ids
CASING_FILE = "vocab.json"  # in the same folder: how text is normalized
_CASING = ("lower_case", "strip_accents", "tokenize_chinese_chars")


def _warn(line: str) -> None:
    print(f"Warning: {line}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model, and how text is normalized.

    Attributes:
        tokens: the tokens in the order of their ids.
        lower_case: whether text is lower-cased (uncased).
        strip_accents: whether text is decomposed and loses its accents; None
            means the same as lower_case, as in the published models.
        tokenize_chinese_chars: whether each Chinese character is a word.
    Raises: ValueError, naming the token, if one is duplicated, empty or
        contains a newline, or if a special token is missing.
    """

    tokens: tuple[str, ...]
    lower_case: bool
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool = True

    def __post_init__(self):
        """Sets the default of strip_accents and checks the tokens."""
        if self.strip_accents is None:
            object.__setattr__(self, "strip_accents", self.lower_case)
        lines: dict[str, int] = {}
        for line, token in enumerate(self.tokens, start=1):
            if not token:
                raise ValueError(f"line {line} is empty, not a token.")
            if "\n" in token or "\r" in token:
                raise ValueError(f"token {token!r} contains a newline.")
            if token in lines:
                raise ValueError(
                    f"lines {lines[token]} and {line} are both {token!r}."
                )
            lines[token] = line
        if missing := [t for t in SPECIAL_TOKENS if t not in lines]:
            raise ValueError(
                f"{', '.join(missing)} missing; a vocabulary needs "
                f"{', '.join(SPECIAL_TOKENS)}."
            )

    def __len__(self) -> int:
        """The number of tokens: vocab_size."""
        return len(self.tokens)

    @property
    def pad_id(self) -> int:
        return self.tokens.index(PAD)

    @property
    def unk_id(self) -> int:
        return self.tokens.index(UNK)

    @property
    def cls_id(self) -> int:
        return self.tokens.index(CLS)

    @property
    def sep_id(self) -> int:
        return self.tokens.index(SEP)

    @property
    def mask_id(self) -> int:
        return self.tokens.index(MASK)

    @property
    def fingerprint(self) -> str:
        """A hash, equal for two vocabularies only if they are equal."""
        text = "\n".join((*self.tokens, json.dumps(self._casing())))
        return hashlib.sha256(text.encode()).hexdigest()

    def _casing(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _CASING}

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        lower_case: bool | None = None,
        report: Callable[[str], object] = _warn,
    ) -> "Vocabulary":
        """Reads a vocab.txt, and its casing from vocab.json in its folder.

        Args:
            path: the vocab.txt.
            lower_case: the casing of a vocabulary without vocab.json; it must
                not contradict an existing one.
            report: a function of a message about blank and repeated lines,
                for a vocabulary without vocab.json; kbert writes none of these.
        Raises: OSError if a file cannot be read; ValueError, naming the file,
            if it is not a vocabulary or its casing is unknown.
        """
        path = pathlib.Path(path)
        casing_file = path.parent / CASING_FILE
        casing: dict[str, Any] = {"lower_case": lower_case}
        if casing_file.exists():
            tokens = tuple(text_files.read_lines(path))
            casing = _read_casing(casing_file, vocab_size=len(tokens))
            if lower_case not in (None, casing["lower_case"]):
                raise ValueError(
                    f"{casing_file}: lower_case is {casing['lower_case']}, but "
                    f"--lower_case is {lower_case}."
                )
        elif lower_case is None:
            raise ValueError(
                f"{path}: casing unknown: no {CASING_FILE} in its folder. "
                "Give --lower_case=true (uncased) or =false (cased)."
            )
        else:
            tokens = read_tokens(path, report)
        try:
            return cls(tokens, **casing)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def save(self, folder: str | os.PathLike) -> None:
        """Writes vocab.txt and vocab.json, each atomically."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        casing = {"vocab_size": len(self), **self._casing()}
        atomic_files.write_text(
            folder / VOCABULARY_FILE, "\n".join(self.tokens) + "\n"
        )
        atomic_files.write_text(
            folder / CASING_FILE, json.dumps(casing, indent=2) + "\n"
        )


class _Casing(TypedDict):
    vocab_size: int
    lower_case: bool
    strip_accents: NotRequired[bool]
    tokenize_chinese_chars: NotRequired[bool]


def read_tokens(
    path: str | os.PathLike, report: Callable[[str], object]
) -> tuple[str, ...]:
    """Reads the tokens of a vocab.txt that another program wrote.

    Raises: OSError; ValueError, naming file and line, if it is not UTF-8.
    """
    return name_unused(list(text_files.read_lines(path)), path, report)


def name_unused(
    lines: Sequence[str],
    where: str | os.PathLike,
    report: Callable[[str], object],
) -> tuple[str, ...]:
    """Returns tokens for lines of which some are blank or repeated.

    A blank line keeps its id, and of equal lines the last is the token, as in
    transformers. The others get names that the tokenizer never produces.
    Blank lines at the end are dropped.

    Args:
        lines: the lines, in the order of their ids.
        where: their name in messages, such as the file.
        report: a function of a message about lines without a token.
    """
    last = {token: index for index, token in enumerate(lines)}
    blank = [i for i, token in enumerate(lines) if not token]
    double = [i for i, x in enumerate(lines) if x and last[x] != i]
    for kind, found in (("blank", blank), ("repeated further down", double)):
        if found:
            numbers = ", ".join(str(i + 1) for i in found[:5])
            more = ", ..." if len(found) > 5 else ""
            report(
                f"{os.fspath(where)}: {len(found)} lines are {kind} (line "
                f"{numbers}{more}): their ids have no token."
            )
    tokens = list(lines)
    while tokens and not tokens[-1]:
        tokens.pop()
    for index in (*blank, *double):
        # The tokenizer splits at "[", so no longer token with one ever occurs.
        name = f"[line {index + 1}]"
        while name in last:
            name = f"[{name}]"
        tokens[index : index + 1] = [name] if index < len(tokens) else []
    return tuple(tokens)


def _read_casing(path: pathlib.Path, *, vocab_size: int) -> dict[str, Any]:
    fields = json_files.read(path, _Casing, others=Any)
    if fields["vocab_size"] != vocab_size:
        raise ValueError(
            f"{path}: vocab_size is {fields['vocab_size']}, but "
            f"{VOCABULARY_FILE} in its folder has {vocab_size} lines."
        )
    return {name: fields[name] for name in _CASING if name in fields}


def learn(paths: Sequence[str], *, size: int, lower_case: bool) -> Vocabulary:
    """Learns a WordPiece vocabulary from text files, deterministically.

    The special tokens come first, then the alphabet: each character of the
    text, alone and (a letter or digit) as the continuation "##x" of a word, so
    that no word made of them is [UNK]. Then tokens are merged, the most
    frequent pair first, until there are `size` tokens or no pair occurs twice.
    Characters rarer than one in a million are left out.

    Args:
        paths: UTF-8 text files.
        size: the maximum number of tokens; a small text gives fewer.
        lower_case: whether to lower-case text and strip accents, as the
            tokenizer will.
    Raises: OSError, or ValueError if a line is not UTF-8 (naming file and
        line), if there is no text, or if `size` cannot hold the alphabet.
    """
    normalizer = normalizers.BertNormalizer(
        lowercase=lower_case, strip_accents=lower_case
    )
    first, continuing = _alphabet(paths, normalizer)
    start = [*SPECIAL_TOKENS, *first, *(f"##{c}" for c in continuing)]
    if size < len(start):
        raise ValueError(
            f"Vocabulary size {size} is too small: the special tokens and the "
            f"alphabet of the text, {len(first)} characters, need "
            f"{len(start)}."
        )
    # The trainer breaks ties by id and hands out ids in the order of a hash
    # table that differs from run to run. Tokens that are listed as special
    # get theirs first, in our order.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=start,
        initial_alphabet=first,
        limit_alphabet=len(first),
        show_progress=sys.stderr.isatty(),
    )
    learner = tokenizers.Tokenizer(WordPiece(unk_token=UNK))

    learner.normalizer = normalizer
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # Not `train`, which reads the files itself and does not decompress them.
    learner.train_from_iterator(_line_chunks(paths), trainer)
    ids = learner.get_vocab()
    return Vocabulary(tuple(sorted(ids, key=ids.__getitem__)), lower_case)


def _line_chunks(paths):
    """Yields lists of lines, which the trainer reads fastest."""
    lines = (line for path in paths for line in text_files.read_lines(path))
    while chunk := list(itertools.islice(lines, 1000)):
        yield chunk


def _alphabet(
    paths: Sequence[str], normalizer: normalizers.Normalizer
) -> tuple[list[str], list[str]]:
    """Collects the characters of the text after normalization.

    Returns: those that can start a word, and those that can continue one.
    """
    counts: collections.Counter[str] = collections.Counter()
    for path in paths:
        for line in text_files.read_lines(path):
            counts.update(line)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    seen: collections.Counter[str] = collections.Counter()
    continuing = set()
    for character, count in counts.items():
        text = normalizer.normalize_str("a" + character)  # continues the "a"
        words = [w for w, _ in pre_tokenizer.pre_tokenize_str(text)]
        for letter in "".join(words)[1:]:
            seen[letter] += count
        continuing.update("".join(word[1:] for word in words))
    if not seen:
        raise ValueError(f"{', '.join(paths)}: no text, nothing to learn from.")
    floor = seen.total() / 1e6
    first = sorted(c for c, count in seen.items() if count >= floor)
    return first, [c for c in first if c in continuing]
