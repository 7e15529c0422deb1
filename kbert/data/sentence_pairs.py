# SPDX-License-Identifier: Apache-2.0
"""Pairs of passages for next-sentence prediction, as spans of a corpus.

Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1 (task 2) and
appendix A.2; the procedure follows google-research/bert, with three
differences, each of which brings a share closer to what the paper states:

- A passage that is one sentence has no rest that could be its next one, and
  makes a pair with random text. For each such pair a later one, for which
  no coin is thrown, is a true one; so half of all pairs are true.
- The shorter target length is drawn for each pair, not for each document, so
  that `short_seq_prob` is a share of the pairs.
- Random text starts at a sentence drawn from all sentences of the other
  documents, so that a document is drawn as often as it is long.
"""

import array
import bisect
import dataclasses
import random
from collections.abc import Iterable

import numpy as np

from kbert.data.documents import Corpus


@dataclasses.dataclass(frozen=True)
class SentencePairs:
    """Pairs of token spans: `a` is tokens[a_start:a_end], `b` likewise.

    All are (pairs,) int64. A span may be longer than fits: nothing is cut
    yet. `is_random` is 1 where `b` stands in another document than `a`, 0
    where it follows `a` directly.
    """

    a_start: np.ndarray
    a_end: np.ndarray
    b_start: np.ndarray
    b_end: np.ndarray
    is_random: np.ndarray

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.is_random)

    def __getitem__(self, rows) -> "SentencePairs":
        """The pairs of a slice or an index array."""
        return SentencePairs(**{n: v[rows] for n, v in vars(self).items()})


def usable_documents(corpus: Corpus) -> np.ndarray:
    """Numbers of the documents that start pairs: those of two sentences.

    A document of one, such as a title between blank lines, has no next
    sentence; its text can still be the random one.

    Raises: ValueError if there is none.
    """
    usable = np.flatnonzero(np.diff(corpus.documents) > 1)
    if not len(usable):
        raise ValueError(
            f"None of {corpus.num_documents} documents has two sentences: no "
            "sentence has a next one. A blank line ends a document; wanted "
            "documents of several sentences."
        )
    return usable


def choose(
    corpus: Corpus,
    documents: Iterable[int],
    *,
    max_tokens: int,
    short_seq_prob: float,
    dupe_factor: int,
    seed: str,
) -> SentencePairs:
    """Cuts documents into passages and gives each its second passage.

    Sentences are gathered up to a target length, then split in two at a
    random sentence. Half of the time the second part is replaced by random
    text, and what it held is gathered again. The order of the pairs is
    random too.

    Args:
        corpus: two documents at least.
        documents: numbers of those to use, none of only one sentence.
        max_tokens: target length of a pair, [CLS] and [SEP] not counted.
        short_seq_prob: share of the pairs whose target is drawn evenly from
            2 to `max_tokens` instead.
        dupe_factor: how often to go through the documents.
        seed: the same string gives the same pairs on every machine.
    """
    draw = random.Random(seed)
    rows = array.array("q")
    sure = 0  # true pairs that are owed: see the first difference above
    for document in list(documents) * dupe_factor:
        first, last = corpus.documents[document : document + 2].tolist()
        starts = corpus.sentences[first : last + 1].tolist()
        at = 0
        while at < last - first:
            target = max_tokens
            if draw.random() < short_seq_prob:
                target = draw.randint(2, max_tokens)
            end = bisect.bisect_left(starts, starts[at] + target, at + 1)
            end = min(end, last - first)
            middle = at + draw.randint(1, max(1, end - at - 1))
            if middle == end:
                is_random, sure = True, sure + 1
            elif sure:
                is_random, sure = False, sure - 1
            else:
                is_random = draw.random() < 0.5
            length_b = target - (starts[middle] - starts[at])
            span_b = (
                (-1, length_b) if is_random else (starts[middle], starts[end])
            )
            rows.extend((starts[at], starts[middle], *span_b, document))
            at = middle if is_random else end
    return _finish(corpus, np.array(rows, np.int64).reshape(-1, 5), draw)


def _finish(corpus, rows, draw):
    """Gives the rows that want it their random text, and shuffles all."""
    wanting = rows[:, 2] < 0
    u = np.array([draw.random() for _ in range(np.count_nonzero(wanting))])
    length, document = rows[wanting, 3], rows[wanting, 4]
    own = corpus.documents[document]
    num_own = corpus.documents[document + 1] - own
    start = (u * (corpus.num_sentences - num_own)).astype(np.int64)
    start += np.where(start >= own, num_own, 0)  # steps over its own document
    place = np.searchsorted(corpus.documents, start, "right")
    first_token = corpus.sentences[start]
    end = np.searchsorted(corpus.sentences, first_token + length, "left")
    end = np.clip(end, start + 1, corpus.documents[place])
    rows[wanting, 2] = first_token
    rows[wanting, 3] = corpus.sentences[end]
    a_start, a_end, b_start, b_end, _ = rows.T
    is_random = wanting.astype(np.int64)
    pairs = SentencePairs(a_start, a_end, b_start, b_end, is_random)
    order = np.array([draw.random() for _ in range(len(pairs))])
    return pairs[np.argsort(order, kind="stable")]
