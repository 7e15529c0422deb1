# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning in kbert and in PyTorch, one file each.

Each side has `finetune(run) -> Result` and needs a new process. This module has
what all sides share: AdamW with 10 % linear warm-up and then linear decay,
clipping, weight decay except for biases and norms, dropout as in the model's
config.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

EPSILON = 1e-6  # Adam's, as in the published code; PyTorch's own is 1e-8
WEIGHT_DECAY = 0.01
WARM_UP = 0.1  # share of the steps
CLIP_NORM = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """The files of a task and the settings to read them.

    Attributes:
        task: the value of `kbert-finetune --task`.
        train: the training file.
        dev: the validation file.
        options: fields of kbert's DataOptions.
    """

    task: str
    train: str
    dev: str
    options: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One fine-tuning.

    Attributes:
        model: a Hugging Face folder with an encoder.
        data: what to learn.
        epochs: passes over the training rows.
        learning_rate: the highest.
        batch_size: rows of a step.
        seed: of the head, dropout and the order of the rows.
    """

    model: str
    data: Data
    epochs: int
    learning_rate: float
    batch_size: int
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What one run gave.

    Attributes:
        answers: to the rows of the dev file, as kbert's server gives them,
            as far as the task's scores want them.
        epoch_seconds: of the training steps of each epoch.
        versions: of what ran.
    """

    answers: Sequence[Mapping[str, Any]]
    epoch_seconds: list[float]
    versions: dict[str, str]
