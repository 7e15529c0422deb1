# SPDX-License-Identifier: Apache-2.0
"""How paragraphs are split and answers chosen."""

import dataclasses
from typing import Annotated

from kbert import json_files
from kbert.config import MAX_SEQ_LENGTH
from kbert.json_files import Range
from kbert.options import option

_Length = Annotated[int, Range(at_least=1, at_most=MAX_SEQ_LENGTH)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How paragraphs are split and answers chosen.

    Attributes:
        stride: tokens of the paragraph from one window's start to the next.
        max_query_length: most tokens of a question; longer ones are
            truncated.
        max_answer_length: most tokens of an answer.
        no_answer: whether a question may have none, as in SQuAD 2.0.
        several_answers: whether it may have any number of them, each with its
            own probability.
        threshold: with several answers the lowest probability of one,
            otherwise the highest no-answer score at which there is one; None
            for 0.5 and 0.
        whole_word_answers: whether training widens an answer that begins or
            ends inside a word to all of it; scores are of the given ones.
    Raises: ValueError, naming the field.
    """

    stride: _Length = option(
        "tokens from the start of one window of a context that is longer than "
        "a row to the start of the next; by default a third of "
        "--max_seq_length.",
        128,
    )
    max_query_length: _Length = option(
        "most tokens of a question; by default 64.", 64
    )
    max_answer_length: _Length = option(
        "most tokens of an answer; by default 30.", 30
    )
    no_answer: bool = False
    several_answers: bool = option(
        "a question may have several answers, all marked in the file, or none.",
        False,
    )
    threshold: float | None = option(
        "with --several_answers, the lowest probability of an answer; else "
        "the highest no-answer score of a question that has one, by default "
        "the best on --dev, or 0.",
        None,
    )
    whole_word_answers: bool = option(
        "learn an answer that begins or ends inside a word with all of the "
        "word, as by default; scores are of the answers as they are.",
        True,
    )

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        json_files.check(vars(self), Settings, "")
        if self.no_answer and self.several_answers:
            raise ValueError(
                "no_answer and several_answers are both set; where there may "
                "be several, none is one of the cases."
            )
        if self.threshold is None:
            default = 0.5 if self.several_answers else 0.0
            object.__setattr__(self, "threshold", default)
        if self.several_answers:
            probability = Annotated[float, Range(more_than=0, less_than=1)]
            json_files.check(
                {"threshold": self.threshold}, dict[str, probability], ""
            )
