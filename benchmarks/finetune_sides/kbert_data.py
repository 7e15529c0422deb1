# SPDX-License-Identifier: Apache-2.0
"""The sentences as kbert reads, tokenizes and batches them."""

import pathlib

from benchmarks.finetune_sides import LABELS, MAX_LENGTH
from kbert.data import finetuning, tables
from kbert.data.finetuning import Examples
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import VOCABULARY_FILE, Vocabulary


def read_vocabulary(model: str) -> Vocabulary:
    """The uncased vocabulary in a Hugging Face folder."""
    return Vocabulary.load(
        pathlib.Path(model) / VOCABULARY_FILE, lower_case=True
    )


def read_examples(path: str, vocabulary: Vocabulary) -> Examples:
    """Tokenizes a file by `movie_sentences`."""
    rows = tables.read_table(path, ["sentence"], "label")
    return finetuning.tokenized(
        rows,
        tables.label_ids(rows, LABELS),
        tokenizer=Tokenizer(vocabulary),
        max_seq_length=MAX_LENGTH,
    )
