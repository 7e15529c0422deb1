# SPDX-License-Identifier: Apache-2.0
"""What the scores of a reranker are, and how it is trained."""

import dataclasses

from kbert import json_files
from kbert.options import option

ACTIVATIONS = ("sigmoid", "none")
LOSSES = ("binary_crossentropy", "list", "margin_mse")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the scores of a reranker are, and how it is trained.

    Attributes:
        activation: "sigmoid" for scores between 0 and 1, "none" for logits.
        loss: one of `LOSSES`; see `kbert.tasks.reranking.head.losses`.
    Raises: ValueError, naming the field.
    """

    activation: str = option(
        "sigmoid, for scores between 0 and 1, or none, for logits; by default "
        "as the initial model's, or sigmoid.",
        "sigmoid",
    )
    loss: str = option(
        "binary_crossentropy, of each pair, by default; list, softmax over a "
        "query's positive and negatives; margin_mse, by a teacher's margins.",
        "binary_crossentropy",
    )

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        json_files.check(vars(self), Settings, "")
        for name, allowed in (("activation", ACTIVATIONS), ("loss", LOSSES)):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(
                    f"{name} is {value!r}; needs one of {', '.join(allowed)}."
                )

    @property
    def threshold(self) -> float:
        """The score of the logit 0, from which on a text counts as relevant."""
        return 0.5 if self.activation == "sigmoid" else 0.0
