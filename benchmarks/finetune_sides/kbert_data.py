# SPDX-License-Identifier: Apache-2.0
"""The sentences as kbert reads, tokenizes and batches them."""

import pathlib

import numpy as np

from benchmarks.finetune_sides import LABELS, MAX_LENGTH
from kbert import features
from kbert.data import labelled_texts, tables
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
    labels = [[label] for label in rows.labels or ()]
    return labelled_texts.examples(
        rows.texts,
        np.array(tables.label_ids(rows, labels, LABELS), np.int32)[:, 0],
        output=features.LOGITS,
        tokenizer=Tokenizer(vocabulary),
        max_seq_length=MAX_LENGTH,
    )
