# SPDX-License-Identifier: Apache-2.0
"""Makes synthetic pre-training batches, shaped like those of real records.

A batch is a dict of arrays with the names of `kbert.features`:
token_ids, segment_ids, padding_mask (B, S) int32; mask_positions, mask_ids
(B, P) int32; mask_weights (B, P) float32; next_sentence_labels (B,) int32.
"""

import dataclasses

import numpy as np

_PAD, _CLS, _SEP, _MASK = 0, 2, 3, 4
_FIRST_WORD = 5
_SHORT_ROWS = 0.1  # share of pairs that do not fill the row
_MASKED = 0.15  # share of a row's tokens that are predicted

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """The sizes of one pre-training step."""

    vocab_size: int
    layers: int
    hidden_size: int
    heads: int
    batch: int
    length: int
    predictions: int

    @property
    def max_positions(self) -> int:
        """Rows of the position table: 512 as in BERT, or the length."""
        return max(512, self.length)


def make_batches(work: Work, *, count: int, seed: int) -> list[Batch]:
    """The same batches for the same seed, whichever process asks."""
    rng = np.random.default_rng(seed)
    return [_make_batch(work, rng) for _ in range(count)]


def _make_batch(work: Work, rng: np.random.Generator) -> Batch:
    rows = [_make_row(work, rng) for _ in range(work.batch)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _make_row(work: Work, rng: np.random.Generator) -> Batch:
    """[CLS] a [SEP] b [SEP], 80 % of the predicted tokens as [MASK]."""
    length = work.length
    if rng.random() < _SHORT_ROWS:
        length = int(rng.integers(length // 4, length))
    first = int(rng.integers(length // 4, 3 * length // 4))  # first [SEP]
    words = _words(work, rng, length)
    words[0], words[first], words[-1] = _CLS, _SEP, _SEP
    ordinary = np.setdiff1d(np.arange(length), [0, first, length - 1])

    count = min(work.predictions, max(1, round(length * _MASKED)))
    positions = np.sort(rng.choice(ordinary, count, replace=False))
    labels = words[positions]
    draw = rng.random(count)
    shown = np.where(draw < 0.9, _words(work, rng, count), labels)
    words[positions] = np.where(draw < 0.8, _MASK, shown)

    row = {
        "token_ids": _pad(words, work.length, _PAD),
        "segment_ids": _pad(np.arange(length) > first, work.length),
        "padding_mask": _pad(np.ones(length), work.length),
        "mask_positions": _pad(positions, work.predictions),
        "mask_ids": _pad(labels, work.predictions),
        "mask_weights": _pad(np.ones(count), work.predictions),
        "next_sentence_labels": rng.integers(2),
    }
    floats = ("mask_weights",)
    return {
        name: np.asarray(value, "float32" if name in floats else "int32")
        for name, value in row.items()
    }


def _words(work: Work, rng: np.random.Generator, count: int) -> np.ndarray:
    """Few frequent and many rare tokens, about as in Zipf's law."""
    ranks = np.exp(rng.uniform(0, np.log(work.vocab_size), count))
    return np.minimum(_FIRST_WORD - 1 + ranks, work.vocab_size - 1).astype(int)


def _pad(values: np.ndarray, length: int, fill: int = 0) -> np.ndarray:
    return np.pad(values, (0, length - len(values)), constant_values=fill)
