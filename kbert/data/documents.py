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
sentence goes on over the end of a line.
"""

import array
import dataclasses
import itertools
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from kbert.text.files import read_lines

_SENTENCES_AT_ONCE = 8192

# Where a sentence may end: final punctuation and closing marks, then white
# space, then opening marks and a letter; or CJK punctuation without a space.
_END = re.compile(
    r"""[.!?…।॥؟۔]["'”’»)\]]*\s+(?=["'“‘«(\[]*([^\W\d_]))"""
    r"""|[。！？]["'”’」』）]*\s*(?=\S)"""
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


def read_sentences(paths: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yields each sentence with the number of the document it stands in.

    Raises: OSError; ValueError, naming file and line, at text not in UTF-8.
    """
    document = 0
    for path in paths:
        for line in read_lines(path):
            sentences = split_sentences(line)
            if not sentences:
                document += 1
            for sentence in sentences:
                yield document, sentence
        document += 1


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The token ids of a text; none of its sentences is empty.

    Attributes:
        tokens: (tokens,) int32, in the order of the text.
        sentences: (sentences + 1,) int64: sentence i holds the tokens from
            sentences[i] up to sentences[i + 1].
        documents: (documents + 1,) int64: the same for documents, whose
            parts are sentences.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray

    @property
    def num_sentences(self) -> int:
        """Number of sentences in all documents."""
        return len(self.sentences) - 1

    @property
    def num_documents(self) -> int:
        """Number of documents that hold a token."""
        return len(self.documents) - 1

    @classmethod
    def open(cls, folder: pathlib.Path) -> "Corpus":
        """What `tokenize` left in a folder; tokens stay on disk until used."""
        return cls(
            np.memmap(folder / "tokens.i4", "<i4", "r"),
            np.load(folder / "sentences.npy"),
            np.load(folder / "documents.npy"),
        )


def tokenize(
    paths: Sequence[str],
    tokenizer: Callable,
    folder: pathlib.Path,
    progress: Callable[[int, int], object],
) -> Corpus:
    """Turns text files into token ids, kept in a new folder.

    Args:
        paths: text files in the form this module describes.
        tokenizer: a `kbert.text.tokenizer.Tokenizer`.
        folder: where the ids are kept, on disk rather than in memory; other
            processes read them with `Corpus.open(folder)`.
        progress: called with the bytes of text that are done and all bytes.
    Raises: ValueError if there is no text or only one document.
    """
    folder.mkdir()
    size = sum(os.path.getsize(path) for path in paths)
    done = 0
    lengths = array.array("i")
    documents = array.array("i")  # of each sentence
    pending = read_sentences(paths)
    with open(folder / "tokens.i4", "wb") as file:
        while batch := list(itertools.islice(pending, _SENTENCES_AT_ONCE)):
            numbers, texts = zip(*batch, strict=True)
            ids = tokenizer(list(texts))
            ids.values.numpy().astype("<i4").tofile(file)
            lengths.extend(ids.row_lengths().numpy().tolist())
            documents.extend(numbers)
            done += sum(len(text.encode()) for text in texts)
            progress(min(done, size), size)
    progress(size, size)  # white space was not counted
    _save_offsets(np.array(lengths), np.array(documents), folder, paths)
    return Corpus.open(folder)


def _save_offsets(lengths, documents, folder, paths):
    named = paths[0] if len(paths) == 1 else f"{paths[0]} to {paths[-1]}"
    if not lengths.any():
        raise ValueError(f"{named}: no text found.")
    documents = documents[lengths > 0]
    lengths = lengths[lengths > 0]
    first = np.flatnonzero(np.diff(documents, prepend=-1))  # of a document
    if len(first) == 1:
        raise ValueError(
            f"{named}: one document only; wanted two or more, with a blank "
            "line between them: a random next sentence comes from another."
        )
    sentences = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    np.save(folder / "sentences.npy", sentences)
    np.save(folder / "documents.npy", np.append(first, len(lengths)))
