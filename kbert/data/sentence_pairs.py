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
from collections.abc import Iterable, Iterator

import numpy as np

from kbert.data.documents import Corpus

# Of a document: one of one sentence, such as a title between blank lines, has
# no next sentence. Its text can still be the random one.
LEAST_SENTENCES = 2


@dataclasses.dataclass(frozen=True)
class SentencePairs:
    """Pairs of token spans: `a` is tokens[a_start:a_end], `b` likewise.

    All are (pairs,) int64. A span may be longer than fits: nothing is cut
    yet. `random_sentence` is where `b` begins, if that is in another document
    than `a`, or -1 where it follows `a` directly. `is_short` is 1 where a
    shorter length was aimed at.
    """

    a_start: np.ndarray
    a_end: np.ndarray
    b_start: np.ndarray
    b_end: np.ndarray
    random_sentence: np.ndarray
    is_short: np.ndarray

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.is_short)

    def __getitem__(self, rows) -> "SentencePairs":
        """The pairs of a slice or an index array."""
        return SentencePairs(**{n: v[rows] for n, v in vars(self).items()})


def choose(
    corpus: Corpus,
    groups: Iterable[np.ndarray],
    *,
    max_tokens: int,
    short_seq_prob: float,
    seed: str,
) -> Iterator[SentencePairs]:
    """Cuts stretches into passages and gives each its second passage.

    Sentences are gathered up to a target length, then split in two at a
    random sentence. Half of the time the second part is replaced by random
    text, and what it held is gathered again. The order of a group's pairs is
    random too.

    Args:
        corpus: two documents at least.
        groups: stretches of the corpus, of two sentences or more each.
        max_tokens: target length of a pair, [CLS] and [SEP] not counted.
        short_seq_prob: share of the pairs whose target is drawn evenly from
            2 to `max_tokens` instead.
        seed: the same string gives the same pairs on every machine.
    Yields: the pairs of each group.
    """
    draw = random.Random(seed)
    sure = 0  # true pairs that are owed: see the first difference above
    for group in groups:
        rows = array.array("q")
        for stretch, starts in each_with_starts(corpus, group):
            own = stretch["own_first"], stretch["own_end"]
            at, last = 0, len(starts) - 1
            while at < last:
                target = max_tokens
                if is_short := draw.random() < short_seq_prob:
                    target = draw.randint(2, max_tokens)
                end = bisect.bisect_left(starts, starts[at] + target, at + 1)
                end = min(end, last)
                middle = at + draw.randint(1, max(1, end - at - 1))
                if middle == end:
                    is_random, sure = True, sure + 1
                elif sure:
                    is_random, sure = False, sure - 1
                else:
                    is_random = draw.random() < 0.5
                span_b = starts[middle], starts[end]
                if is_random:
                    span_b = -1, target - (starts[middle] - starts[at])
                rows.extend((starts[at], starts[middle], *span_b))
                rows.extend((*own, is_short))
                at = middle if is_random else end
        yield _finish(corpus, np.array(rows, np.int64).reshape(-1, 7), draw)


def each_with_starts(
    corpus: Corpus, stretches: np.ndarray
) -> Iterator[tuple[np.void, list[int]]]:
    """Yields stretches, and where the sentences of each begin, and it ends."""
    counts = stretches["end"] - stretches["first"] + 1
    found = corpus.sentences(stretches["first"].tolist(), counts.tolist())
    starts = found["token"].tolist()
    ends = np.cumsum(counts).tolist()
    for stretch, first, end in zip(stretches, [0, *ends], ends, strict=False):
        yield stretch, starts[first:end]


def _finish(corpus, rows, draw):
    """Gives the rows that want it their random text, and shuffles all."""
    a_start, a_end, b_start, b_end, own_first, own_end, is_short = rows.T
    sentence = np.full(len(rows), -1)
    wanting = np.flatnonzero(b_start < 0)
    u = np.array([draw.random() for _ in wanting])
    own, num_own = own_first[wanting], (own_end - own_first)[wanting]
    start = (u * (corpus.num_sentences - num_own)).astype(np.int64)
    start += np.where(start >= own, num_own, 0)  # steps over its own document
    sentence[wanting] = start
    b_start[wanting], b_end[wanting] = _random_text(
        corpus, start, np.maximum(b_end[wanting], 1)
    )
    pairs = SentencePairs(a_start, a_end, b_start, b_end, sentence, is_short)
    order = np.array([draw.random() for _ in range(len(pairs))])
    return pairs[np.argsort(order, kind="stable")]


def _random_text(corpus, start, length):
    """Spans of whole sentences of one document, of a length at least."""
    # As many sentences as tokens are enough: none is empty.
    counts = np.minimum(length, corpus.num_sentences - start) + 1
    found = corpus.sentences(start.tolist(), counts.tolist())
    first = np.cumsum(counts) - counts
    token, document = found["token"][first], found["document"][first]
    inside = found["document"] == np.repeat(document, counts)
    inside &= found["token"] < np.repeat(token + length, counts)
    used = np.add.reduceat(inside, first, dtype=np.int64)
    return token, found["token"][first + used]
