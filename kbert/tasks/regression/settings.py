# SPDX-License-Identifier: Apache-2.0
"""The settings of a model that gives numbers."""

import dataclasses

from kbert import json_files
from kbert.tasks.long_texts import LongTexts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(LongTexts):
    """What becomes of long texts, where a row has one text.

    Raises: ValueError, naming the field.
    """

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        json_files.check(vars(self), Settings, "")
        self.check_long_texts()
