# SPDX-License-Identifier: Apache-2.0
"""Texts, or pairs of them, with a class, several classes or a number each."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kbert.data import finetuning
from kbert.data.finetuning import Examples
from kbert.text.packing import pack
from kbert.text.tokenizer import Tokenizer


def examples(
    texts: Sequence[Sequence[str]],
    labels: np.ndarray,
    *,
    output: str,
    tokenizer: Tokenizer,
    max_seq_length: int,
) -> Examples:
    """Tokenizes a table once, for all epochs.

    Args:
        texts: one column of them or two.
        labels: (rows,) int32 or float32, or (rows, C) float32.
        output: the model's, that they belong to.
        tokenizer: of the texts.
        max_seq_length: most tokens of a row; longer ones are truncated.
    """
    columns = {f"text_{i}": tf.constant(c) for i, c in enumerate(texts)}

    def tokenize(columns):
        tokens = {name: tokenizer(text) for name, text in columns.items()}
        whole = tf.add_n([t.row_lengths() for t in tokens.values()])
        kept = {name: t[:, :max_seq_length] for name, t in tokens.items()}
        return {**kept, "whole": whole}

    parts = finetuning.mapped(columns, tokenize)
    special = 1 + len(columns)  # [CLS] and a [SEP] after each text
    lengths = tf.cast(parts.pop("whole"), tf.int32) + special
    parts["labels"] = tf.constant(labels)

    def to_batch(rows):
        inputs, _ = pack(
            *(rows[name] for name in columns),
            vocabulary=tokenizer.vocabulary,
            seq_length=max_seq_length,
        )
        return inputs, {output: rows["labels"]}

    return Examples(
        parts=parts,
        lengths=tf.minimum(lengths, max_seq_length),
        to_batch=to_batch,
        num_truncated=int(tf.math.count_nonzero(lengths > max_seq_length)),
    )
