# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning in kbert and in PyTorch, one file each.

Each module has `finetune(task) -> Result` and takes a fresh process.
"""

import dataclasses

BATCH_SIZE = 32
LEARNING_RATE = 1e-4
EPSILON = 1e-6  # Adam's, as in the published code; PyTorch's own is 1e-8
WEIGHT_DECAY = 0.01
WARM_UP = 0.1  # share of the steps
CLIP_NORM = 1.0
MAX_LENGTH = 128
LABELS = ("negative", "positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One run: a Hugging Face folder, two TSV files, epochs and a seed."""

    model: str
    train: str
    dev: str
    epochs: int
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One run's held-out accuracy after the last epoch, and its times.

    `epoch_seconds` are those of the training steps of each epoch.
    """

    accuracy: float
    epoch_seconds: list[float]
    train_rows: int
    dev_rows: int
    versions: dict[str, str]


def read_table(path: str) -> tuple[list[str], list[int]]:
    """Sentences and label numbers of a file by `movie_sentences`."""
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    return [row[0] for row in rows], [LABELS.index(row[1]) for row in rows]
