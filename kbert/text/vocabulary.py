# SPDX-License-Identifier: Apache-2.0
"""The word pieces that a model knows: loaded, saved, and learnt from text."""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Sequence

import tokenizers
from tokenizers import normalizers, pre_tokenizers, trainers
from tokenizers.models import WordPiece

from kbert.text import files

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
VOCABULARY_FILE = "vocab.txt"  # one token a line; its id is the line's number
CASING_FILE = "vocab.json"  # beside it: what the tokens alone do not tell


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their ids, and whether text is lower-cased.

    Raises: ValueError if a token stands twice or is empty, or if a special
        token is missing, naming it.
    """

    tokens: tuple[str, ...]
    lower_case: bool  # uncased: text is lower-cased, accents are stripped

    def __post_init__(self):
        """Checks the tokens."""
        lines: dict[str, int] = {}
        for line, token in enumerate(self.tokens, start=1):
            if not token:
                raise ValueError(f"line {line} is empty, not a token.")
            if token in lines:
                raise ValueError(
                    f"lines {lines[token]} and {line} are both {token!r}."
                )
            lines[token] = line
        if missing := [t for t in SPECIAL_TOKENS if t not in lines]:
            raise ValueError(
                f"{', '.join(missing)} missing; a vocabulary holds "
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
        """A hash that two vocabularies share only if they are equal."""
        casing = "uncased" if self.lower_case else "cased"
        text = "\n".join((*self.tokens, casing))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def load(
        cls, path: str | os.PathLike, lower_case: bool | None = None
    ) -> "Vocabulary":
        """Reads a vocab.txt, and its casing from the vocab.json beside it.

        Args:
            path: the vocab.txt.
            lower_case: the casing of a vocabulary that has no vocab.json; it
                may not contradict one that is there.
        Raises: OSError if a file cannot be read; ValueError, naming the file,
            if it is no vocabulary or its casing is unknown.
        """
        path = pathlib.Path(path)
        tokens = tuple(files.read_lines(path))
        casing_file = path.parent / CASING_FILE
        if casing_file.exists():
            stated = _read_casing(casing_file, vocab_size=len(tokens))
            if lower_case not in (None, stated):
                raise ValueError(
                    f"{casing_file}: lower_case is {stated}, but --lower_case "
                    f"is {lower_case}."
                )
            lower_case = stated
        if lower_case is None:
            raise ValueError(
                f"{path}: casing unknown: there is no {CASING_FILE} beside "
                "it. Give --lower_case=true (uncased) or =false (cased)."
            )
        try:
            return cls(tokens, lower_case)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def save(self, folder: str | os.PathLike) -> None:
        """Writes vocab.txt and vocab.json, each complete or not at all."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        casing = {"vocab_size": len(self), "lower_case": self.lower_case}
        _write(folder / VOCABULARY_FILE, "\n".join(self.tokens) + "\n")
        _write(folder / CASING_FILE, json.dumps(casing, indent=2) + "\n")


def _read_casing(path: pathlib.Path, *, vocab_size: int) -> bool:
    try:
        fields = json.loads("\n".join(files.read_lines(path)))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON: {error}.") from None
    if not isinstance(fields, dict) or not isinstance(
        fields.get("lower_case"), bool
    ):
        raise ValueError(
            f"{path}: wanted an object with lower_case true or false, found "
            f"{fields!r}."
        )
    if fields.get("vocab_size") != vocab_size:
        raise ValueError(
            f"{path}: vocab_size is {fields.get('vocab_size')}, but "
            f"{VOCABULARY_FILE} beside it has {vocab_size} lines."
        )
    return fields["lower_case"]


def _write(path: pathlib.Path, text: str) -> None:
    """Writes beside the file, then renames: it is never seen half done."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def learn(paths: Sequence[str], *, size: int, lower_case: bool) -> Vocabulary:
    """Learns word pieces from text files; the same files give the same ones.

    The special tokens come first, then the alphabet: each character that the
    text has, alone and (a letter or digit) as the continuation "##x" of a
    word, so that no word made of them is [UNK]. Then pieces are merged, the
    most frequent pair first, until there are `size` or no pair occurs twice.
    Characters seen less than once in a million are left out.

    Args:
        paths: UTF-8 text files.
        size: number of tokens wanted; a small text gives fewer.
        lower_case: whether the text is lower-cased and accents are stripped,
            as the tokenizer will do.
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
    # table that differs from run to run. Pieces that are listed as special
    # tokens get theirs first, in our order.
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
    learner.train(list(paths), trainer)
    ids = learner.get_vocab()
    return Vocabulary(tuple(sorted(ids, key=ids.__getitem__)), lower_case)


def _alphabet(
    paths: Sequence[str], normalizer: normalizers.Normalizer
) -> tuple[list[str], list[str]]:
    """The characters of the text as the tokenizer sees them.

    Returns: those that can start a word, and those that can go on in one.
    """
    counts: collections.Counter[str] = collections.Counter()
    for path in paths:
        for line in files.read_lines(path):
            counts.update(line)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    seen: collections.Counter[str] = collections.Counter()
    continuing = set()
    for character, count in counts.items():
        text = normalizer.normalize_str("a" + character)  # a: to go on from
        words = [w for w, _ in pre_tokenizer.pre_tokenize_str(text)]
        for letter in "".join(words)[1:]:
            seen[letter] += count
        continuing.update("".join(word[1:] for word in words))
    if not seen:
        raise ValueError(f"{', '.join(paths)}: no text, nothing to learn from.")
    floor = seen.total() / 1e6
    first = sorted(c for c, count in seen.items() if count >= floor)
    return first, [c for c in first if c in continuing]
