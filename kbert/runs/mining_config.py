# SPDX-License-Identifier: Apache-2.0
"""Which texts become hard negatives: each field is a flag of the same name."""

import dataclasses
from typing import Literal

from kbert.limits import RANGES
from kbert.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class MiningConfig:
    """Which texts become negatives.

    Raises: ValueError, naming the field.
    """

    num_negatives: int = option("Negatives of a row.", 1)
    nearest: int = option(
        "How many of the nearest texts of a query are looked at.", 50
    )
    relative_margin: float = option(
        "A negative's cosine, or score of --reranker, is lower than the "
        "positive's by at least this share of it.",
        0.05,
    )
    sampling: Literal["top", "random"] = option(
        "Take the nearest of those that are left, or any.", "top"
    )
    seed: int = option("Of the random ones.", 0)

    def __post_init__(self):
        """Checks the ranges."""
        for field in dataclasses.fields(self):
            value, limits = getattr(self, field.name), RANGES.get(field.name)
            if limits and value not in limits:
                raise ValueError(f"{field.name} is {value}; needs {limits}.")
