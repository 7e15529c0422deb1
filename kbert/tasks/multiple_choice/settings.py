# SPDX-License-Identifier: Apache-2.0
"""The settings of a model that chooses."""

import dataclasses
from typing import Annotated

from kbert import json_files
from kbert.json_files import Range


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a model that chooses.

    Attributes:
        num_choices: C, of each row.
    Raises: ValueError if there are fewer than two.
    """

    num_choices: Annotated[int, Range(at_least=2, at_most=1000)]

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        json_files.check(vars(self), Settings, "")
