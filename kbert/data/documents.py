# SPDX-License-Identifier: Apache-2.0
"""Text files to documents, sentences and token ids.

The form of the files: a line holds one sentence or more, a blank line (white
space only) ends a document, and so does the end of a file. Every line is cut
into sentences by one rule, `split_sentences`. Thus

- one sentence a line, a blank line between documents: taken as it is;
- a paragraph a line, a blank line between documents: the paragraphs of a
  document follow each other, cut into sentences;
- WikiText, where blank lines also stand around each ` = Title = `: a section
  is a document, and so is each title, of one sentence.

A text whose lines are broken at a fixed width has to be joined first: no
sentence goes on over the end of a line. A file NAME.gz is unzipped.

Files of any size are read in blocks, each of which `tokenize` turns into
token ids by itself, in any order and process. `join` puts the blocks
together, on disk; `Corpus` reads there.
"""

import dataclasses
import gzip
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from kbert import atomic_files
from kbert.text.files import undecodable

_BLOCK_BYTES = 1 << 24
_SENTENCES_AT_ONCE = 8192
_CHARACTERS_AT_ONCE = 1 << 20
_WINDOW = 1 << 20  # sentences of a block that are joined at once
_LONGEST = 4096  # sentences of a stretch

# Where a sentence may end: final punctuation and closing marks, then white
# space, then opening marks and a letter; or CJK punctuation without a space.
# With all of the punctuation first, `re` skips quickly over what ends none.
_END = re.compile(
    r"""[.!?…।॥؟۔。！？](?:"""
    r"""(?<![。！？])["'”’»)\]]*\s+(?=["'“‘«(\[]*([^\W\d_]))"""
    r"""|(?<=[。！？])["'”’」』）]*\s*(?=\S))"""
)
# "J. Smith", "the U.S. Senate", "Dr. Who", and a "1." that starts a sentence:
# a full stop that ends none.
_NO_END = re.compile(
    r"(?:^\d+|(?<!\w)(?:(?:[A-Z]\.)*[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Gov|Sen|Rep|Gen"
    r"|Lt|Col|Capt|Jr|Sr|vs|No))\.$"
)


def split_sentences(line: str) -> list[str]:
    """Cuts a line after the punctuation that ends a sentence.

    A sentence ends at one of .!?… (also Indic, Arabic and Urdu) where white
    space and a letter follow that is not lower-case; quotes and brackets may
    stand on either side of the space. A full stop after an initial, an
    acronym, a title ("Mr.") or a leading number ends none. At 。！？ no space
    is needed. So a line of lower-case text stays one sentence.

    Example: 'He left. "Why?" Mr. Lee asked.' gives
    ['He left.', '"Why?"', 'Mr. Lee asked.'].
    """
    sentences = []
    start = 0
    for match in _END.finditer(line):
        letter = match[1]
        stop = match.start() + 1
        if letter and letter.islower():
            continue
        if letter and _NO_END.search(line[max(start, stop - 16) : stop]):
            continue
        sentences.append(line[start : match.end()].strip())
        start = match.end()
    sentences.append(line[start:].strip())
    return [sentence for sentence in sentences if sentence]


SENTENCE = np.dtype([("token", "<i8"), ("document", "<i8")])
STRETCH = np.dtype(
    [(name, "<i8") for name in ("first", "end", "own_first", "own_end")]
)


@dataclasses.dataclass(frozen=True)
class Block:
    """The lines of a text file that start in a part of its bytes."""

    path: str
    start: int
    end: int

    def __str__(self) -> str:
        """What a worker is said to read."""
        return f"{self.path} from byte {self.start} on"


def blocks(paths: Iterable[str]) -> list[Block]:
    """Cuts files into parts of 16 MB; a zipped one stays whole."""
    found = []
    for path in paths:
        size = os.path.getsize(path)
        step = size if _is_zipped(path) else _BLOCK_BYTES
        found += [
            Block(path, start, min(start + step, size))
            for start in range(0, size, max(step, 1))
        ]
    return found


def tokenize(
    block: Block,
    tokenizer: Callable,
    folder: pathlib.Path,
    report: Callable[[int], object],
) -> None:
    """Leaves a block's token ids in a new folder, for `join`.

    They are tokens.i4; lengths.i4, tokens of each sentence, without those
    that have none; borders.u1, whether another document begins before each
    sentence, and at last whether one does after them all.

    Args:
        block: of `blocks`.
        tokenizer: a `kbert.text.tokenizer.Tokenizer`.
        folder: stands there when it is whole.
        report: called with numbers of bytes that were read since the last.
    Raises: OSError, naming the file, if it cannot be read; ValueError if it is
        damaged or has become shorter, naming the line too if it is not UTF-8.
    """
    with atomic_files.writing_folder(folder, "keep") as new:
        with (
            open(new / "tokens.i4", "wb") as tokens,
            open(new / "lengths.i4", "wb") as lengths,
            open(new / "borders.u1", "wb") as borders,
        ):
            last = current = done = 0
            for position, documents, sentences in _batches(block):
                ids = tokenizer(tf.constant(sentences, tf.string))
                sizes = ids.row_lengths().numpy().astype("<i4")
                kept = sizes > 0
                *numbers, current = documents
                numbers = np.array(numbers, np.int64)[kept]
                tokens.write(ids.values.numpy().astype("<i4").tobytes())
                lengths.write(sizes[kept].tobytes())
                borders.write((np.diff(numbers, prepend=last) > 0).tobytes())
                last = numbers[-1] if len(numbers) else last
                report(position - done)
                done = position
            borders.write(np.array([current > last]).tobytes())


def _batches(block):
    """Yields a block's sentences, some thousands at once.

    Yields: bytes of it that were read; for each sentence, and for the next
        one, the number of its document, from 0; the sentences.
    """
    documents, sentences = [], []
    position = document = characters = 0
    for position, line in _lines(block):
        found = split_sentences(line)
        if not found:
            document += 1
        sentences += found
        documents += [document] * len(found)
        characters += len(line)
        if (
            len(sentences) >= _SENTENCES_AT_ONCE
            or characters >= _CHARACTERS_AT_ONCE
        ):
            yield position, [*documents, document], sentences
            documents, sentences, characters = [], [], 0
    yield position, [*documents, document], sentences


def _lines(block):
    """Yields bytes of the block that were read, and the text of each line."""
    encoding = "utf-8" if block.start else "utf-8-sig"
    try:
        with open(block.path, "rb") as file:
            raw_lines = _raw_lines(block, file)
            for number, (position, line) in enumerate(raw_lines):
                try:
                    yield position, line.decode(encoding)
                except UnicodeDecodeError as error:
                    number += _count_lines(file, block.start) + 1
                    raise undecodable(block.path, number, error) from error
                encoding = "utf-8"
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{block.path}: damaged: {error}") from error
    except OSError as error:
        raise OSError(f"{block.path}: {error.strerror}") from error


def _raw_lines(block, file):
    if _is_zipped(block.path):
        with gzip.open(file) as unzipped:
            for line in unzipped:
                yield file.tell(), line
        return
    if block.start:  # to the end of the line that starts before
        file.seek(block.start - 1)
        while (part := file.readline(1 << 20)) and not part.endswith(b"\n"):
            pass
    position = file.tell()
    while position < block.end:
        line = file.readline()
        if not line:
            raise ValueError(
                f"{block.path}: has become shorter while it was read."
            )
        position += len(line)
        yield position - block.start, line


def _count_lines(file, start):
    """Number of the lines that begin before a byte of a file."""
    if not start:
        return 0
    file.seek(0)
    count, left = 1, start - 1
    while left and (part := file.read(min(left, 1 << 20))):
        count += part.count(b"\n")
        left -= len(part)
    return count


def _is_zipped(path):
    return path.endswith(".gz")


def join(
    parts: Iterable[tuple[Block, pathlib.Path]],
    folder: pathlib.Path,
    *,
    least_sentences: int,
) -> None:
    """Makes a folder for `Corpus` out of the folders of `tokenize`.

    Args:
        parts: each block, in the order of the text, with its folder.
        folder: stands there when it is whole.
        least_sentences: of a document that has stretches, at least.
    """
    token = document = 0
    first = sentence = 0  # of the last document, and of all
    with atomic_files.writing_folder(folder, "keep") as new:
        with (
            open(new / "tokens", "wb") as tokens,
            open(new / "sentences", "wb") as sentences,
            open(new / "stretches", "wb") as stretches,
        ):
            for lengths, borders in _all_windows(parts, tokens):
                table = np.empty(len(lengths), SENTENCE)
                table["token"] = token + np.cumsum(lengths) - lengths
                table["document"] = document - 1 + np.cumsum(borders)
                sentences.write(table.tobytes())
                firsts = sentence + np.flatnonzero(borders)
                firsts = np.append(first, firsts)
                stretches.write(_stretches(firsts, least_sentences).tobytes())
                first = firsts[-1]
                token += int(lengths.sum())
                document += int(borders.sum())
                sentence += len(lengths)
            firsts = np.array([first, sentence])
            stretches.write(_stretches(firsts, least_sentences).tobytes())
            sentences.write(np.array([(token, document)], SENTENCE).tobytes())


def _all_windows(parts, tokens):
    """Copies the tokens of each block and yields what tells their sentences.

    Yields: lengths of some sentences, int64; which of them begin a document.
    """
    border = True
    for block, part in parts:
        border |= block.start == 0
        with open(part / "tokens.i4", "rb") as file:
            shutil.copyfileobj(file, tokens, 1 << 20)
        with (
            open(part / "lengths.i4", "rb") as all_lengths,
            open(part / "borders.u1", "rb") as all_borders,
        ):
            while len(lengths := np.fromfile(all_lengths, "<i4", _WINDOW)):
                borders = np.fromfile(all_borders, bool, len(lengths))
                borders[0] |= border
                border = False
                yield lengths.astype(np.int64), borders
            border |= np.fromfile(all_borders, bool)[0]


def _stretches(firsts, least_sentences):
    """Cuts documents, from each of `firsts` up to the next, if long enough."""
    start, end = firsts[:-1], firsts[1:]
    pieces = -(-(end - start) // _LONGEST)
    pieces[end - start < least_sentences] = 0
    document = np.repeat(np.arange(len(start)), pieces)
    number = np.arange(len(document)) - np.repeat(
        np.cumsum(pieces) - pieces, pieces
    )
    start, end, pieces = start[document], end[document], pieces[document]
    table = np.empty(len(document), STRETCH)
    table["own_first"], table["own_end"] = start, end
    table["first"] = start + (end - start) * number // pieces
    table["end"] = start + (end - start) * (number + 1) // pieces
    return table


class Corpus:
    """The token ids of a text, in files of which it reads what is asked for.

    A sentence has one token at least. A stretch is the sentences, from
    `first` up to `end`, of a document, or of a part of one that has more
    than 4,096; all of that document are from `own_first` up to `own_end`.

    Attributes: num_tokens, num_sentences, num_documents, num_stretches.

    Args:
        folder: of `join`.
    """

    def __init__(self, folder: pathlib.Path):
        self._tokens = folder / "tokens"
        self._sentences = folder / "sentences"
        self._stretches = folder / "stretches"
        size = os.path.getsize(self._sentences)
        self.num_sentences = size // SENTENCE.itemsize - 1
        size = os.path.getsize(self._stretches)
        self.num_stretches = size // STRETCH.itemsize
        [end] = self.sentences([self.num_sentences], [1])
        self.num_tokens = int(end["token"])
        self.num_documents = int(end["document"])

    def tokens(
        self, starts: Iterable[int], counts: Iterable[int]
    ) -> np.ndarray:
        """Runs of tokens, one after the other: (sum of counts,) int32."""
        return _read(self._tokens, np.dtype("<i4"), starts, counts)

    def sentences(
        self, starts: Iterable[int], counts: Iterable[int]
    ) -> np.ndarray:
        """Runs of sentences: (sum of counts,) with `token` and `document`.

        They are a sentence's first token and its document, both int64.
        Sentence `num_sentences` stands for the end of all.
        """
        return _read(self._sentences, SENTENCE, starts, counts)

    def stretches(self, share: int, num_shares: int) -> np.ndarray:
        """Each num_shares-th stretch, from number `share` on."""
        at_once = num_shares * max(1, _WINDOW // num_shares)
        found = []
        with open(self._stretches, "rb") as file:
            while len(some := np.fromfile(file, STRETCH, at_once)):
                found.append(some[share::num_shares].copy())
        return np.concatenate(found)


def _read(path, dtype, starts, counts):
    size = dtype.itemsize
    with open(path, "rb", buffering=0) as file:
        runs = [
            os.pread(file.fileno(), count * size, start * size)
            for start, count in zip(starts, counts, strict=True)
        ]
    return np.frombuffer(b"".join(runs), dtype)
