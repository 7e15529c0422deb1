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
    """What decides the rows, beside text and vocabulary.

    Attributes:
        max_seq_length: S, tokens of a row; shorter pairs are padded.
        max_predictions: P, tokens to predict in a row at most.
        masked_lm_prob: share of the tokens to predict.
        whole_words: whether the pieces of a word, "##x", go with it.
        max_ngram: most tokens, or whole words, that are hidden in one go.
        short_seq_prob: share of the texts that are made shorter than S.
        next_sentence: whether rows are pairs of passages with next-sentence
            labels; else they are of consecutive sentences.
        packed: whether rows hold several texts where they fit; not of pairs.
        masked: whether tokens are masked here; else whoever reads the
            records masks them, and what is told of predictions is not used.
        dupe_factor: how often the text is gone through, with other choices.
        num_shards: record files, if there are as many documents.
        seed: the same text, vocabulary and options give the same files.
    Raises: ValueError, naming the option.
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
        """Checks every option."""
        json_files.check(dataclasses.asdict(self), RecordOptions, "")
        if self.max_predictions > self.max_seq_length:
            raise ValueError(
                f"max_predictions is {self.max_predictions}; wanted at most "
                f"max_seq_length, which is {self.max_seq_length}."
            )
        _ = self.masking  # checks that the n-grams fit
        if self.packed and self.next_sentence:
            raise ValueError(
                "packed and next_sentence are both true; a pair has a row of "
                "its own, so wanted one of them."
            )

    @property
    def masking(self) -> Masking:
        """What is hidden of a row."""
        names = [field.name for field in dataclasses.fields(Masking)]
        return Masking(**{name: getattr(self, name) for name in names})
