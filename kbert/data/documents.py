# SPDX-License-Identifier: Apache-2.0
"""Reads text files into documents, sentences and token ids.

Format of the files: a line has one or more sentences; a blank line (white
space only) or the end of a file ends a document. `split_sentences` splits
every line into sentences. So the following work:

- one sentence per line, a blank line between documents;
- one paragraph per line, a blank line between documents: a document is the
  sentences of its paragraphs;
- WikiText, with blank lines around each ` = Title = `: each section is a
  document, and each title is a document of one sentence.

Text with lines broken at a fixed width has to be joined first: a sentence
never continues on the next line. A file NAME.gz is decompressed.

Files of any size are read in blocks. `tokenize` converts each block to token
ids independently, in any order and process. `join` merges the blocks on disk,
and `Corpus` reads the result.
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
from kbert.text.text_files import decode_error

_BLOCK_BYTES = 1 << 24
_BATCH_SENTENCES = 8192
_BATCH_CHARACTERS = 1 << 20
_WINDOW = 1 << 20  # sentences of a block that are joined together
_MAX_STRETCH = 4096  # sentences

# Where a sentence may end: final punctuation and closing marks, then white
# space, then opening marks and a letter; or CJK punctuation without a space.
# All punctuation comes first, so that `re` quickly skips other characters.
_END = re.compile(
    r"""[.!?…।॥؟۔。！？](?:"""
    r"""(?<![。！？])["'”’»)\]]*\s+(?=["'“‘«(\[]*([^\W\d_]))"""
    r"""|(?<=[。！？])["'”’」』）]*\s*(?=\S))"""
)
# Full stops that do not end a sentence: "J. Smith", "the U.S. Senate",
# "Dr. Who", and a "1." at the start of a sentence.
_NO_END = re.compile(
    r"(?:^\d+|(?<!\w)(?:(?:[A-Z]\.)*[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Gov|Sen|Rep|Gen"
    r"|Lt|Col|Capt|Jr|Sr|vs|No))\.$"
)


def split_sentences(line: str) -> list[str]:
    """Splits a line after the punctuation that ends a sentence.

    A sentence ends at one of .!?… (also Indic, Arabic and Urdu) if white space
    follows, and then a letter that is not lower-case; quotes and brackets may
    be on either side of the space. A full stop after an initial, an acronym, a
    title ("Mr.") or a leading number does not end a sentence. 。！？ need no
    space. So a line of lower-case text stays one sentence.

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
    """The lines of a text file that start in a range of its bytes."""

    path: str
    start: int
    end: int

    def __str__(self) -> str:
        """Describes the block in messages."""
        return f"{self.path} from byte {self.start} on"


def blocks(paths: Iterable[str]) -> list[Block]:
    """Divides files into blocks of 16 MB; a compressed file is one block."""
    found = []
    for path in paths:
        size = os.path.getsize(path)
        step = size if _is_compressed(path) else _BLOCK_BYTES
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
    """Writes the token ids of a block to a new folder, for `join`.

    The files are tokens.i4; lengths.i4, the number of tokens of each sentence
    that has any; and borders.u1, whether a new document starts before each
    sentence, and finally whether one starts after the last.

    Args:
        block: a block from `blocks`.
        tokenizer: a `kbert.text.tokenizer.Tokenizer`.
        folder: the folder, which is written atomically.
        report: called with the number of bytes read since the last call.
    Raises: OSError, naming the file, if it cannot be read; ValueError if it is
        damaged or has become shorter, also naming the line if it is not UTF-8.
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
    """Yields the sentences of a block in batches of some thousands.

    Yields: the number of bytes read so far; the number of the document of each
        sentence, and of the next one, from 0; the sentences.
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
            len(sentences) >= _BATCH_SENTENCES
            or characters >= _BATCH_CHARACTERS
        ):
            yield position, [*documents, document], sentences
            documents, sentences, characters = [], [], 0
    yield position, [*documents, document], sentences


def _lines(block):
    """Yields the number of bytes read so far and the text of each line."""
    encoding = "utf-8" if block.start else "utf-8-sig"
    try:
        with open(block.path, "rb") as file:
            raw_lines = _raw_lines(block, file)
            for number, (position, line) in enumerate(raw_lines):
                try:
                    yield position, line.decode(encoding)
                except UnicodeDecodeError as error:
                    number += _count_lines(file, block.start) + 1
                    raise decode_error(block.path, number, error) from error
                encoding = "utf-8"
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{block.path}: damaged: {error}") from error
    except OSError as error:
        raise OSError(f"{block.path}: {error.strerror}") from error


def _raw_lines(block, file):
    if _is_compressed(block.path):
        with gzip.open(file) as decompressed:
            for line in decompressed:
                yield file.tell(), line
        return
    if block.start:  # skip the line that starts before the block
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
    """Counts the lines that start before a byte of a file."""
    if not start:
        return 0
    file.seek(0)
    count, remaining = 1, start - 1
    while remaining and (part := file.read(min(remaining, 1 << 20))):
        count += part.count(b"\n")
        remaining -= len(part)
    return count


def _is_compressed(path):
    return path.endswith(".gz")


def join(
    parts: Iterable[tuple[Block, pathlib.Path]],
    folder: pathlib.Path,
    *,
    min_sentences: int,
) -> None:
    """Merges the folders of `tokenize` into a folder for `Corpus`.

    Args:
        parts: the blocks in the order of the text, each with its folder.
        folder: the folder, which is written atomically.
        min_sentences: the minimum length of documents that have stretches.
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
                stretches.write(_stretches(firsts, min_sentences).tobytes())
                first = firsts[-1]
                token += int(lengths.sum())
                document += int(borders.sum())
                sentence += len(lengths)
            firsts = np.array([first, sentence])
            stretches.write(_stretches(firsts, min_sentences).tobytes())
            sentences.write(np.array([(token, document)], SENTENCE).tobytes())


def _all_windows(parts, tokens):
    """Copies the tokens of each block, and yields its sentences in windows.

    Yields: the lengths of the sentences, int64; which of them start a
        document.
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


def _stretches(firsts, min_sentences):
    """Splits documents into stretches; document i starts at `firsts[i]`."""
    start, end = firsts[:-1], firsts[1:]
    counts = -(-(end - start) // _MAX_STRETCH)
    counts[end - start < min_sentences] = 0
    document = np.repeat(np.arange(len(start)), counts)
    number = np.arange(len(document)) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    start, end, counts = start[document], end[document], counts[document]
    table = np.empty(len(document), STRETCH)
    table["own_first"], table["own_end"] = start, end
    table["first"] = start + (end - start) * number // counts
    table["end"] = start + (end - start) * (number + 1) // counts
    return table


class Corpus:
    """The token ids of a text, on disk.

    Every sentence has at least one token. A stretch is a document, or a part
    of one with more than 4,096 sentences: the sentences from `first` up to
    `end`. The whole document is the sentences from `own_first` up to
    `own_end`.

    Attributes: num_tokens, num_sentences, num_documents, num_stretches.

    Args:
        folder: a folder that `join` wrote.
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
        """Reads runs of tokens, concatenated: (sum of counts,) int32."""
        return _read(self._tokens, np.dtype("<i4"), starts, counts)

    def sentences(
        self, starts: Iterable[int], counts: Iterable[int]
    ) -> np.ndarray:
        """Reads runs of sentences, concatenated: (sum of counts,) SENTENCE.

        `token` is the index of the first token, `document` that of the
        document. Sentence number `num_sentences` marks the end of the text.
        """
        return _read(self._sentences, SENTENCE, starts, counts)

    def stretches(self, share: int, num_shares: int) -> np.ndarray:
        """Reads every num_shares-th stretch, starting with number `share`."""
        chunk_size = num_shares * max(1, _WINDOW // num_shares)
        found = []
        with open(self._stretches, "rb") as file:
            while len(chunk := np.fromfile(file, STRETCH, chunk_size)):
                found.append(chunk[share::num_shares].copy())
        return np.concatenate(found)


def _read(path, dtype, starts, counts):
    size = dtype.itemsize
    with open(path, "rb", buffering=0) as file:
        runs = [
            os.pread(file.fileno(), count * size, start * size)
            for start, count in zip(starts, counts, strict=True)
        ]
    return np.frombuffer(b"".join(runs), dtype)
