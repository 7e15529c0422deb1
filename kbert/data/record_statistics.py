# SPDX-License-Identifier: Apache-2.0
"""Statistics of records, counted while they are written.

The shares are those of Devlin et al. 2019, arXiv:1810.04805, section 3.1 and
appendix A.2: 15 % of the tokens are predicted, 80 / 10 / 10 % of these are
masked, random and kept, half of the next sentences are true, 10 % of the rows
are made shorter.
"""

import collections
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from kbert import features
from kbert.text.vocabulary import Vocabulary

# Each count, and the count that it is a share of. With next-sentence labels a
# text is a pair of passages. "positions" are tokens and padding.
SHARE_OF = {
    "short": "texts",
    "truncated": "texts",
    "true_next": "rows",
    "random_next": "rows",
    "distinct_negatives": "random_next",
    "padding": "positions",
    "predictions": "tokens",
    "masked": "predictions",
    "random": "predictions",
    "kept": "predictions",
}
_ORDER = (
    *("documents", "sentences", "corpus_tokens", "rows", "texts", "short"),
    *("truncated", "true_next", "random_next", "distinct_negatives"),
    *("positions", "padding", "tokens"),
    *("predictions", "masked", "random", "kept"),
)
_BINS = 16  # of the lengths


class Counted(TypedDict):
    """The JSON form of `Statistics`."""

    counts: dict[str, int]
    lengths: list[int]


class Statistics:
    """Counts over rows; those of several shards can be added.

    Attributes:
        counts: counts by name.
        lengths: (S + 1,) number of rows for each number of tokens.
    """

    def __init__(self, max_seq_length: int):
        self.counts: collections.Counter[str] = collections.Counter()
        self.lengths = np.zeros(max_seq_length + 1, np.int64)

    def count(
        self, rows: Mapping[str, np.ndarray], vocabulary: Vocabulary
    ) -> None:
        """Adds rows to the counts."""
        lengths = np.count_nonzero(rows["padding_mask"], axis=1)
        size = rows["padding_mask"].size
        self.lengths += np.bincount(lengths, minlength=len(self.lengths))
        self.counts["rows"] += len(lengths)
        self.counts["positions"] += size
        self.counts["tokens"] += int(lengths.sum())
        self.counts["padding"] += size - int(lengths.sum())
        if features.NEXT_SENTENCE_LABELS in rows:
            random = int(rows[features.NEXT_SENTENCE_LABELS].sum())
            self.counts["true_next"] += len(lengths) - random
            self.counts["random_next"] += random
        if features.MASK_IDS in rows:
            self._count_predictions(rows, vocabulary.mask_id)

    def _count_predictions(self, rows, mask_id):
        counted = rows[features.MASK_WEIGHTS] > 0
        [positions] = (rows[name] for name in features.MLM_INPUTS)
        found = np.take_along_axis(rows["token_ids"], positions, 1)[counted]
        masked = found == mask_id
        kept = ~masked & (found == rows[features.MASK_IDS][counted])
        self.counts["predictions"] += len(found)
        self.counts["masked"] += int(masked.sum())
        self.counts["kept"] += int(kept.sum())
        self.counts["random"] += int((~masked & ~kept).sum())

    def add(self, other: "Statistics") -> None:
        """Adds other counts."""
        self.counts.update(other.counts)
        self.lengths += other.lengths

    def to_json(self) -> Counted:
        """Returns the JSON form, for `from_json`."""
        return {"counts": dict(self.counts), "lengths": self.lengths.tolist()}

    @classmethod
    def from_json(cls, found: Counted) -> "Statistics":
        """Restores the result of `to_json`."""
        statistics = cls(len(found["lengths"]) - 1)
        statistics.counts.update(found["counts"])
        statistics.lengths += np.array(found["lengths"])
        return statistics

    def summary(self) -> dict[str, Any]:
        """Returns counts, shares (see SHARE_OF), and rows by length."""
        names = sorted(self.counts, key=_ORDER.index)
        counts = {name: self.counts[name] for name in names}
        shares = {
            name: round(counts[name] / counts[whole], 5)
            for name, whole in SHARE_OF.items()
            if name in counts and counts[whole]
        }
        width = -(-(len(self.lengths) - 1) // _BINS)
        lengths = {
            f"{low} to {low + width - 1}": int(self.lengths[low:][:width].sum())
            for low in range(1, len(self.lengths), width)
        }
        return {"counts": counts, "shares": shares, "lengths": lengths}
