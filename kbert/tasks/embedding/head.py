# SPDX-License-Identifier: Apache-2.0
"""One vector for a text, from an encoder's vectors of its tokens."""

import dataclasses

from kbert.models import POOLINGS, build_encoder
from kbert.tasks.heads import Head


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How an encoder's vectors of tokens become a text's, by default.

    Attributes:
        pooling: one of `POOLINGS`.
        normalize: whether the vector has length 1.
    Raises: ValueError, naming the field.
    """

    pooling: str = "mean"
    normalize: bool = False

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        if self.pooling not in tuple(POOLINGS):  # it may be no string
            raise ValueError(
                f"pooling is {self.pooling!r}; needs one of {list(POOLINGS)}."
            )
        if type(self.normalize) is not bool:
            raise ValueError(
                f"normalize is {self.normalize!r}; needs true or false."
            )


HEAD = Head(build=lambda config, spec: build_encoder(config), settings=Settings)
