# SPDX-License-Identifier: Apache-2.0
"""The same training steps in kbert and in PyTorch, one file each."""

import dataclasses

import numpy as np

STEPS = 100

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Given:
    """The data that kbert's side writes for PyTorch's.

    Attributes:
        output: the name of kbert's output.
        batches: inputs, labels and weights of each step.
        dev: inputs, labels and weights of batches of dev rows.
        kernel: (H, C), the kernel of the head.
        bias: (C,), the bias of the head.
    """

    output: str
    batches: list[Arrays]
    dev: list[Arrays]
    kernel: np.ndarray
    bias: np.ndarray


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What a side computes.

    Attributes:
        first: the output for the first batch, after one step.
        dev: the output for each dev batch, after all steps.
        versions: of what ran.
    """

    first: np.ndarray
    dev: list[np.ndarray]
    versions: dict[str, str]
