# SPDX-License-Identifier: Apache-2.0
"""Examples of texts with labels: a text, a pair, or a text with choices."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kbert.data import batching
from kbert.data.batching import Examples
from kbert.text.packing import pack_choices
from kbert.text.tokenizer import Tokenizer
from kbert.text.windows import pack_texts
from kbert.window_sizes import WindowSizes


def examples(
    texts: Sequence[Sequence[str]],
    labels: np.ndarray,
    *,
    output: str,
    tokenizer: Tokenizer,
    max_seq_length: int,
    windows: WindowSizes | None = None,
) -> Examples:
    """Tokenizes a table once, for all epochs.

    Args:
        texts: one or two columns of texts.
        labels: (rows,) int32 or float32, or (rows, C) float32.
        output: the name of the model output that the labels belong to.
        tokenizer: the model's tokenizer.
        max_seq_length: maximum tokens per row.
        windows: in which longer texts are read, of one column; None to
            truncate them.
    """
    columns = {f"text_{i}": tf.constant(c) for i, c in enumerate(texts)}
    special = 1 + len(columns)  # [CLS] and a [SEP] after each text
    room = windows.most_tokens if windows else max_seq_length - special

    def tokenize(columns):
        tokens = {name: tokenizer(text) for name, text in columns.items()}
        whole = tf.add_n([t.row_lengths() for t in tokens.values()])
        kept = {name: t[:, :room] for name, t in tokens.items()}
        return {**kept, "whole": whole}

    parts = batching.map_in_chunks(columns, tokenize)
    whole = tf.cast(parts.pop("whole"), tf.int32)
    parts["labels"] = tf.constant(labels)

    def to_batch(rows):
        inputs = pack_texts(
            *(rows[name] for name in columns),
            vocabulary=tokenizer.vocabulary,
            seq_length=max_seq_length,
            windows=windows,
        )
        return inputs, {output: rows["labels"]}

    return Examples(
        parts=parts,
        lengths=tf.minimum(whole, room) + special,
        to_batch=to_batch,
        num_truncated=int(tf.math.count_nonzero(whole > room)),
    )


def choice_examples(
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    labels: np.ndarray,
    *,
    output: str,
    tokenizer: Tokenizer,
    max_seq_length: int,
) -> Examples:
    """Tokenizes texts with choices once, for all epochs.

    Args:
        prompts: one or more texts.
        choices: for each of them C texts, each of which is packed with it.
        labels: (rows, ...) int32 or float32.
        output: the name of the model output that the labels belong to.
        tokenizer: the model's tokenizer.
        max_seq_length: maximum tokens of a prompt with one choice; longer ones
            are truncated.
    """
    num_choices = len(choices[0])

    def tokenize(columns):
        prompts = tokenizer(columns["prompts"])
        choices = tokenizer(tf.reshape(columns["choices"], [-1]))
        sizes = tf.reshape(choices.row_lengths(), [-1, num_choices])
        return {
            "prompts": prompts[:, :max_seq_length],
            "choices": tf.RaggedTensor.from_uniform_row_length(
                choices[:, :max_seq_length], num_choices
            ),
            "whole": prompts.row_lengths() + tf.reduce_max(sizes, axis=1),
        }

    columns = {"prompts": tf.constant(prompts), "choices": tf.constant(choices)}
    parts = batching.map_in_chunks(columns, tokenize)
    lengths = tf.cast(parts.pop("whole"), tf.int32) + 3  # [CLS] and two [SEP]
    parts["labels"] = tf.constant(labels)

    def to_batch(rows):
        inputs = pack_choices(
            rows["prompts"],
            rows["choices"],
            num_choices=num_choices,
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
