# SPDX-License-Identifier: Apache-2.0
"""Pre-training in kbert and in PyTorch, on the same batches, one file each.

Each module has `train(task) -> Iterator[Point]` and needs a new process. Both
start from the same weights, take the same steps (AdamW with the numbers below,
biases and norms not decayed, clipping by global norm, linear warm-up and decay,
no dropout), and evaluate on the same rows.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-6
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
WARM_UP = 0.1  # share of the steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One run.

    Attributes:
        start: kbert's folder of the first weights, or Hugging Face's.
        records: folder of the rows to train on.
        validation: folder of the rows to score.
        steps: of the whole run.
        score_every: steps between two scores of the validation rows.
        batch_size: rows of a step.
        learning_rate: the highest.
        dtype: of kbert's matrix products, one of Keras's dtype policies.
        seed: of the order of the rows.
    """

    start: str
    records: str
    validation: str
    steps: int
    score_every: int
    batch_size: int
    learning_rate: float
    dtype: str
    seed: int

    @property
    def warm_up_steps(self) -> int:
        """Steps in which the rate rises."""
        return int(self.steps * WARM_UP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """Held-out scores after a number of steps, and seconds of training."""

    step: int
    seconds: float
    mlm_loss: float
    mlm_accuracy: float
    nsp_loss: float
    nsp_accuracy: float


def read_batches(
    folder: str, batch_size: int, seed: int | None
) -> Iterator[tuple[dict[str, np.ndarray], Any, Any]]:
    """Batches (inputs, labels, weights) of arrays, as kbert makes them."""
    from kbert.data import record_batches, record_sets

    found = record_sets.find(folder)
    yield from record_batches.dataset(
        found, batch_size=batch_size, seed=seed
    ).as_numpy_iterator()
