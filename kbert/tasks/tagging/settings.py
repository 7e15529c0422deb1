# SPDX-License-Identifier: Apache-2.0
"""The settings of a tagger, besides its labels."""

import dataclasses
from typing import Annotated

from kbert import json_files
from kbert.config import MAX_SEQ_LENGTH
from kbert.json_files import Range
from kbert.options import option

AGGREGATIONS = ("first", "simple", "joined")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a tagger, besides its labels.

    Attributes:
        stride: tokens between the starts of the windows over a sentence
            that is longer than the model.
        aggregation: how tags become entities, as transformers' pipeline for
            token classification names it. "first": a word has the tag of its
            first token. "simple": in a text, each token has its own tag, so
            that an entity may be a part of a word; a given word is as by
            "first". "joined": as "first", and entities of one type side by side
            are one.
    Raises: ValueError, naming the field.
    """

    stride: Annotated[int, Range(at_least=1, at_most=MAX_SEQ_LENGTH)] = option(
        "tokens from the start of one window of a text that is longer than a "
        "row to the start of the next; by default a half of --max_seq_length.",
        64,
    )
    aggregation: str = option(
        "how tags become entities. first, by default: a word has the tag of "
        "its first token; simple: each token of a text has its own; joined: "
        "as first, and entities of one type side by side are one.",
        "first",
    )

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        json_files.check(vars(self), Settings, "")
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(
                f"aggregation is {self.aggregation!r}; expected one of "
                f"{list(AGGREGATIONS)}."
            )
