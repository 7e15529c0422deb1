# SPDX-License-Identifier: Apache-2.0
"""The settings of a classifier, besides its labels."""

import dataclasses
from typing import Annotated

from kbert import json_files
from kbert.json_files import Range
from kbert.options import option
from kbert.tasks.long_texts import LongTexts

_Threshold = Annotated[float, Range(more_than=0, less_than=1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(LongTexts):
    """The settings of a classifier, besides its labels.

    Attributes:
        multi_label: whether a row may have any number of the labels, none
            included, each with its own probability.
        threshold: the lowest probability of a label that a row then has; None
            for 0.5, or where a row has one label.
        long_texts: and others, see `LongTexts`; of single texts.
    Raises: ValueError for a threshold that is not between 0 and 1, or that
        has no use.
    """

    multi_label: bool = option(
        "a row may have several labels, a|b, or none.", False
    )
    threshold: _Threshold | None = option(
        "with --multi_label, the lowest probability of a row's labels; by "
        "default 0.5.",
        None,
    )

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        json_files.check(vars(self), Settings, "")
        self.check_long_texts()
        if self.multi_label and self.threshold is None:
            object.__setattr__(self, "threshold", 0.5)
        if self.threshold is None:
            return
        if not self.multi_label:
            raise ValueError(
                f"threshold is {self.threshold!r}; needs none without "
                "multi_label."
            )
