# SPDX-License-Identifier: Apache-2.0
"""One pre-training step in kbert and in each of its peers, one file each.

Each module has `make_steps(work, batches, *, dtype, xla) -> Steps`, with
`dtype` one of Keras's dtype policies and `xla` whether XLA compiles the step.

All do the same work: the post-norm encoder with dropout 0.1 on hidden states
and attention, the tanh form of GELU, a pooler, the masked-LM output tied to
the token embedding, the next-sentence output; loss = mean over the weighted
predictions + mean over the pairs; AdamW with the numbers below, biases and
norms not decayed, after clipping by global norm.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

DROPOUT = 0.1
LEARNING_RATE = 1e-4  # constant: a schedule costs nothing
WEIGHT_DECAY = 0.01
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-6
CLIP_NORM = 1.0


@dataclasses.dataclass(frozen=True)
class Steps:
    """A model that is ready to be trained.

    Attributes:
        parameters: the number of trainable parameters.
        run: takes one step on the batch with this number. On a CPU the step is
            finished when it returns, except JAX's.
        loss: a function from the result of `run` to the loss of the step.
        wait: waits for the step to finish, given the result of `run`.
    """

    parameters: int
    run: Callable[[int], Any]
    loss: Callable[[Any], float] = float
    wait: Callable[[Any], Any] = lambda last: None
