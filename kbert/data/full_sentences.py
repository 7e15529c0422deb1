# SPDX-License-Identifier: Apache-2.0
"""Chooses rows of consecutive sentences, without next-sentence labels.

Source: Liu et al. 2019, arXiv:1907.11692, section 4.2, DOC-SENTENCES: each
text is as many whole sentences as fit, and never continues in another
document. Texts from the ends of documents are shorter than a row; if packed,
several texts share a row.
"""

import bisect
import dataclasses
import random
from collections.abc import Iterable, Iterator

import numpy as np

from kbert.data.documents import Corpus
from kbert.data.sentence_pairs import each_with_starts
from kbert.features import ENCODER_INPUTS
from kbert.text.vocabulary import Vocabulary

MIN_SENTENCES = 1  # of a document


@dataclasses.dataclass(frozen=True)
class Texts:
    """Token spans tokens[start:end], and their rows; each (texts,) int64.

    `row` is sorted; a row contains its texts in this order. `is_short` is 1
    where the target length was shorter.
    """

    start: np.ndarray
    end: np.ndarray
    row: np.ndarray
    is_short: np.ndarray

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.row)

    @property
    def num_rows(self) -> int:
        """The number of rows, if the first is row 0."""
        return int(self.row[-1]) + 1

    def of_rows(self, first: int, end: int) -> "Texts":
        """Returns the texts of some rows, renumbered from 0."""
        low, high = np.searchsorted(self.row, [first, end])
        fields = {n: v[low:high] for n, v in vars(self).items()}
        return Texts(**fields | {"row": fields["row"] - first})


def choose(
    corpus: Corpus,
    groups: Iterable[np.ndarray],
    *,
    max_tokens: int,
    short_seq_prob: float,
    packed: bool,
    seed: str,
) -> Iterator[Texts]:
    """Splits stretches into texts, and assigns each a row.

    A sentence that is too long for a row is divided, and continues in the next
    text. The order of a group's rows is random.

    Args:
        corpus: the corpus of the stretches.
        groups: groups of stretches.
        max_tokens: maximum tokens of a row with one text, without [CLS] and
            [SEP].
        short_seq_prob: share of the texts with a shorter target length, drawn
            uniformly from 2 to `max_tokens`.
        packed: whether texts share rows where they fit.
        seed: a string; the same one gives the same texts on every machine.
    Yields: the texts of each group.
    """
    draw = random.Random(seed)
    for group in groups:
        spans = []
        for _, starts in each_with_starts(corpus, group):
            at = starts[0]
            while at < starts[-1]:
                target = max_tokens
                if is_short := draw.random() < short_seq_prob:
                    target = draw.randint(2, max_tokens)
                index = bisect.bisect_right(starts, at + target) - 1
                if starts[index] <= at:  # not even one sentence fits
                    index += 1
                end = min(starts[index], at + max_tokens)
                spans.append((at, end, is_short))
                at = end
        draw.shuffle(spans)
        start, end, is_short = np.array(spans, np.int64).T
        row = np.arange(len(spans))
        if packed:
            row = best_fit(end - start + 2, max_tokens + 2)
        order = np.argsort(row, kind="stable")
        yield Texts(start[order], end[order], row[order], is_short[order])


def best_fit(sizes: np.ndarray, capacity: int) -> np.ndarray:
    """Packs items into rows: largest first, each where it fits best.

    Args:
        sizes: (items,) int, none above the capacity.
        capacity: the capacity of a row.
    Returns: (items,) int64, the row of each. Rows are numbered in the order of
        their first items.
    """
    rows_with = [[] for _ in range(capacity + 1)]  # by remaining room
    rooms = 0  # bit r: there is a row with room r
    row_of = np.empty(len(sizes), np.int64)
    num_rows = 0
    largest_first = np.argsort(-sizes, kind="stable").tolist()
    for item, size in zip(
        largest_first, sizes[largest_first].tolist(), strict=True
    ):
        if large_enough := rooms >> size:
            room = size + (large_enough & -large_enough).bit_length() - 1
            row = rows_with[room].pop()
            if not rows_with[room]:
                rooms ^= 1 << room
        else:
            row, room = num_rows, capacity
            num_rows += 1
        rows_with[room - size].append(row)
        rooms |= 1 << room - size
        row_of[item] = row
    _, first, number = np.unique(row_of, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def fill(
    corpus: Corpus, texts: Texts, *, seq_length: int, vocabulary: Vocabulary
) -> dict[str, np.ndarray]:
    """Builds the rows: [CLS] a [SEP] [CLS] b [SEP] ..., padded.

    Example, seq_length 8, texts [5, 6] and [7] in row 0, [CLS] 2, [SEP] 3:
    token_ids [2, 5, 6, 3, 2, 7, 3, 0], padding_mask [1, 1, 1, 1, 2, 2, 2, 0].

    Args:
        corpus: the corpus of the texts.
        texts: at least one text.
        seq_length: S.
        vocabulary: the source of [CLS], [SEP] and [PAD].
    Returns: ENCODER_INPUTS, each (B, S) int32. `padding_mask` is k at tokens
        of the k-th text; all segment ids are 0.
    """
    row = texts.row
    shape = texts.num_rows, seq_length
    token_ids = np.full(shape, vocabulary.pad_id, np.int32)
    padding_mask = np.zeros(shape, np.int32)
    sizes = texts.end - texts.start + 2
    opens = np.flatnonzero(np.diff(row, prepend=-1))
    before = np.cumsum(sizes) - sizes
    cls = before - before[opens][row] + row * seq_length
    number = np.arange(len(row)) - opens[row] + 1
    indices = np.arange(sizes.sum()) + np.repeat(cls - before, sizes)
    padding_mask.flat[indices] = np.repeat(number, sizes)
    tokens = corpus.tokens(texts.start.tolist(), (sizes - 2).tolist())
    is_text = np.ones(len(indices), bool)
    is_text[before] = is_text[before + sizes - 1] = False
    token_ids.flat[indices[is_text]] = tokens
    token_ids.flat[cls] = vocabulary.cls_id
    token_ids.flat[cls + sizes - 1] = vocabulary.sep_id
    rows = token_ids, np.zeros(shape, np.int32), padding_mask
    return dict(zip(ENCODER_INPUTS, rows, strict=True))
