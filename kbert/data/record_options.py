# SPDX-License-Identifier: Apache-2.0
"""The settings of pre-training records."""

import dataclasses
from typing import Annotated

from kbert import json_files
from kbert.data.masking import Masking
from kbert.limits import RANGES

# Room for two texts, with [CLS] and two [SEP].
_LENGTH = dataclasses.replace(RANGES["max_seq_length"], at_least=8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """The settings that, with text and vocabulary, determine the rows.

    Attributes:
        max_seq_length: S, tokens per row; shorter rows are padded.
        max_predictions: P, maximum predictions per row.
        masked_lm_prob: share of the tokens to predict.
        whole_words: whether all tokens of a word are masked together.
        max_ngram: maximum tokens, or whole words, masked as one span.
        short_seq_prob: share of the texts that are made shorter than S.
        next_sentence: whether rows are pairs of passages with next-sentence
            labels; else rows are consecutive sentences.
        packed: whether a row may have several texts; not with next_sentence.
        masked: whether tokens are masked now; else training masks them, and
            the settings of predictions are not used.
        dupe_factor: passes over the text, each with other random choices.
        num_shards: maximum number of record files, at most one per document.
        seed: the random seed; the same text, vocabulary and settings give the
            same files.
    Raises: ValueError, naming the setting.
    """

    max_seq_length: Annotated[int, _LENGTH]
    max_predictions: Annotated[int, RANGES["max_predictions"]]
    masked_lm_prob: Annotated[float, RANGES["masked_lm_prob"]]
    whole_words: bool
    max_ngram: Annotated[int, RANGES["max_ngram"]]
    short_seq_prob: Annotated[float, RANGES["short_seq_prob"]]
    next_sentence: bool
    packed: bool
    masked: bool
    dupe_factor: Annotated[int, RANGES["dupe_factor"]]
    num_shards: Annotated[int, RANGES["num_shards"]]
    seed: Annotated[int, RANGES["seed"]]

    def __post_init__(self):
        """Checks every setting."""
        json_files.check(dataclasses.asdict(self), RecordOptions, "")
        if self.max_predictions > self.max_seq_length:
            raise ValueError(
                f"max_predictions is {self.max_predictions}; needs at most "
                f"max_seq_length, {self.max_seq_length}."
            )
        _ = self.masking  # checks that the n-grams fit
        if self.packed and self.next_sentence:
            raise ValueError(
                "packed and next_sentence are both true; needs only one of "
                "them, as pairs cannot share a row."
            )

    @property
    def masking(self) -> Masking:
        """The settings of the masking alone."""
        names = [field.name for field in dataclasses.fields(Masking)]
        return Masking(**{name: getattr(self, name) for name in names})
