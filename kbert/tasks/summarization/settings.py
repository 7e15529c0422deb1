# SPDX-License-Identifier: Apache-2.0
"""How long a summary is."""

import dataclasses
from typing import Annotated

from kbert import json_files
from kbert.json_files import Range
from kbert.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How long a summary is.

    Attributes:
        num_sentences: of a summary; fewer where a document has not as many.
    Raises: ValueError if there are none.
    """

    num_sentences: Annotated[int, Range(at_least=1, at_most=10**6)] = option(
        "sentences of a summary; by default 3.", 3
    )

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        json_files.check(vars(self), Settings, "")
