# SPDX-License-Identifier: Apache-2.0
"""Chooses pairs of passages for next-sentence prediction from a corpus.

Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1 (task 2) and
appendix A.2. The procedure follows google-research/bert, with three
differences that bring the shares closer to those in the paper:

- A passage of one sentence cannot be split, so its second passage is random.
  For each of these pairs a later pair is a true one without a draw; so half of
  all pairs are true.
- The shorter target length is drawn for each pair, not for each document, so
  that `short_seq_prob` is a share of the pairs.
- Random text starts at a sentence drawn from all sentences of the other
  documents, so that longer documents are drawn more often.
"""

import array
import bisect
import dataclasses
import random
from collections.abc import Iterable, Iterator

import numpy as np

from kbert.data.documents import Corpus

# A document of one sentence, such as a title between blank lines, has no next
# sentence. Its text can still be drawn as random text.
MIN_SENTENCES = 2


@dataclasses.dataclass(frozen=True)
class SentencePairs:
    """Pairs of token spans tokens[a_start:a_end] and tokens[b_start:b_end].

    Each is (pairs,) int64. The spans are not truncated yet. `random_sentence`
    is the first sentence of `b` if it is random text from another document,
    and -1 if `b` follows `a`. `is_short` is 1 where the target length was
    shorter.
    """

    a_start: np.ndarray
    a_end: np.ndarray
    b_start: np.ndarray
    b_end: np.ndarray
    random_sentence: np.ndarray
    is_short: np.ndarray

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.is_short)

    def __getitem__(self, rows) -> "SentencePairs":
        """Returns the pairs of a slice or an index array."""
        return SentencePairs(**{n: v[rows] for n, v in vars(self).items()})


def choose(
    corpus: Corpus,
    groups: Iterable[np.ndarray],
    *,
    max_tokens: int,
    short_seq_prob: float,
    seed: str,
) -> Iterator[SentencePairs]:
    """Splits stretches into passages and pairs each with a second passage.

    Sentences are collected up to a target length, then split in two at a
    random sentence. Half of the time the second part is replaced by random
    text, and its sentences are used for the next pair. The order of a group's
    pairs is random too.

    Args:
        corpus: a corpus of at least two documents.
        groups: groups of stretches with at least two sentences each.
        max_tokens: target length of a pair, without [CLS] and [SEP].
        short_seq_prob: share of the pairs with a shorter target length, drawn
            uniformly from 2 to `max_tokens`.
        seed: a string; the same one gives the same pairs on every machine.
    Yields: the pairs of each group.
    """
    draw = random.Random(seed)
    owed = 0  # true pairs without a draw: see the first difference above
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
                    is_random, owed = True, owed + 1
                elif owed:
                    is_random, owed = False, owed - 1
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
    """Yields each stretch with the starts of its sentences, then its end."""
    counts = stretches["end"] - stretches["first"] + 1
    found = corpus.sentences(stretches["first"].tolist(), counts.tolist())
    starts = found["token"].tolist()
    ends = np.cumsum(counts).tolist()
    for stretch, first, end in zip(stretches, [0, *ends], ends, strict=False):
        yield stretch, starts[first:end]


def _finish(corpus, rows, draw):
    """Draws random text for the rows that need it, and shuffles all rows."""
    a_start, a_end, b_start, b_end, own_first, own_end, is_short = rows.T
    sentence = np.full(len(rows), -1)
    random_b = np.flatnonzero(b_start < 0)
    u = np.array([draw.random() for _ in random_b])
    own, num_own = own_first[random_b], (own_end - own_first)[random_b]
    start = (u * (corpus.num_sentences - num_own)).astype(np.int64)
    start += np.where(start >= own, num_own, 0)  # skips the own document
    sentence[random_b] = start
    b_start[random_b], b_end[random_b] = _random_text(
        corpus, start, np.maximum(b_end[random_b], 1)
    )
    pairs = SentencePairs(a_start, a_end, b_start, b_end, sentence, is_short)
    order = np.array([draw.random() for _ in range(len(pairs))])
    return pairs[np.argsort(order, kind="stable")]


def _random_text(corpus, start, length):
    """Returns spans of whole sentences of one document, of at least `length`.

    A span is shorter where its document ends.
    """
    # `length` sentences are enough, as each has at least one token.
    counts = np.minimum(length, corpus.num_sentences - start) + 1
    found = corpus.sentences(start.tolist(), counts.tolist())
    first = np.cumsum(counts) - counts
    token, document = found["token"][first], found["document"][first]
    inside = found["document"] == np.repeat(document, counts)
    inside &= found["token"] < np.repeat(token + length, counts)
    used = np.add.reduceat(inside, first, dtype=np.int64)
    return token, found["token"][first + used]
