# SPDX-License-Identifier: Apache-2.0
"""Texts with several choices each, one of them right, such as SWAG's."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from kbert import features
from kbert.data import finetuning, tables
from kbert.data.finetuning import Examples
from kbert.text.packing import pack_choices
from kbert.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Choices:
    """The rows of a table.

    Attributes:
        path: the file.
        lines: for each row the line it starts on, from 1.
        prompts: what is asked.
        choices: for each row as many as for the others.
        labels: the places, from 0, of the right ones; none if not asked for.
    """

    path: str
    lines: list[int]
    prompts: list[str]
    choices: list[list[str]]
    labels: list[int]

    @property
    def texts(self) -> tuple[list[str], list[list[str]]]:
        """As the task's server takes them."""
        return self.prompts, self.choices

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.prompts)


def read_choices(
    path: str,
    text_columns: Sequence[str],
    choice_columns: Sequence[str],
    label_column: str | None,
    *,
    header: Sequence[str] | None = None,
    encoding: str = "utf-8",
) -> Choices:
    """Reads a table with a column for each choice.

    Args:
        path: .tsv, .csv or .jsonl; see `tables.read_table`.
        text_columns: one, of what is asked; or a second too, of how all
            choices of the row begin, which is put before each, with a blank
            (SWAG's sent2; Zellers et al. 2018, arXiv:1808.05326).
        choice_columns: two or more.
        label_column: of the right one's place, from 0; or None.
        header: see `tables.read_table`.
        encoding: of the file.
    Raises: OSError; ValueError, naming file and line, as
        `tables.read_table` does, and for a label that is no such place.
    """
    rows = tables.read_table(
        path,
        [*text_columns, *choice_columns],
        label_column,
        header=header,
        encoding=encoding,
    )
    texts = [
        prompt_and_choices(values, len(text_columns))
        for values in zip(*rows.texts, strict=True)
    ]
    return Choices(
        path=path,
        lines=rows.lines,
        prompts=[prompt for prompt, _ in texts],
        choices=[choices for _, choices in texts],
        labels=_places(rows, len(choice_columns)),
    )


def prompt_and_choices(
    values: Sequence[str], num_texts: int
) -> tuple[str, list[str]]:
    """What the columns of a row say.

    Example: ["He sat.", "He", "stood up.", "slept."] with two texts gives
    "He sat." and ["He stood up.", "He slept."].
    """
    prompt, *beginning = values[:num_texts]
    ends = values[num_texts:]
    return prompt, [" ".join(filter(None, [*beginning, x])) for x in ends]


def _places(rows: tables.Rows, num_choices: int) -> list[int]:
    if rows.labels is None:
        return []
    known = {str(place): place for place in range(num_choices)}
    for line, label in zip(rows.lines, rows.labels, strict=True):
        if label not in known:
            raise ValueError(
                f"{rows.path}:{line}: label {label!r}; wanted the place of "
                f"the right choice, 0 to {num_choices - 1}."
            )
    return [known[label] for label in rows.labels]


def examples(
    rows: Choices, *, tokenizer: Tokenizer, max_seq_length: int
) -> Examples:
    """Tokenizes a table with labels once, for all epochs.

    Args:
        rows: one or more.
        tokenizer: of the texts.
        max_seq_length: most tokens of a prompt with one choice; longer ones
            are cut.
    """
    num_choices = len(rows.choices[0])

    def tokenize(columns):
        prompts = tokenizer(columns["prompts"])
        choices = tokenizer(tf.reshape(columns["choices"], [-1]))
        sizes = tf.reshape(choices.row_lengths(), [-1, num_choices])
        return {
            "prompts": prompts[:, :max_seq_length],
            "choices": tf.RaggedTensor.from_uniform_row_length(
                choices[:, :max_seq_length], num_choices
            ),
            "uncut": prompts.row_lengths() + tf.reduce_max(sizes, axis=1),
        }

    columns = {
        "prompts": tf.constant(rows.prompts),
        "choices": tf.constant(rows.choices),
    }
    parts = finetuning.mapped(columns, tokenize)
    lengths = tf.cast(parts.pop("uncut"), tf.int32) + 3  # [CLS] and two [SEP]
    parts["labels"] = tf.constant(rows.labels, tf.int32)

    def to_batch(rows):
        inputs = pack_choices(
            rows["prompts"],
            rows["choices"],
            num_choices=num_choices,
            vocabulary=tokenizer.vocabulary,
            seq_length=max_seq_length,
        )
        return inputs, {features.LOGITS: rows["labels"]}

    return Examples(
        parts=parts,
        lengths=tf.minimum(lengths, max_seq_length),
        to_batch=to_batch,
        cut=int(tf.math.count_nonzero(lengths > max_seq_length)),
    )
