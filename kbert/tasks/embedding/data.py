# SPDX-License-Identifier: Apache-2.0
"""Rows that vectors are trained and scored on: reading and tokenizing them."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.data import batching, tables
from kbert.data.batching import Examples
from kbert.data.retrieval import Retrieval
from kbert.text.tokenizer import Tokenizer
from kbert.text.windows import pack_texts
from kbert.window_sizes import WindowSizes


@dataclasses.dataclass(frozen=True)
class Texts:
    """Rows of texts that belong together.

    Attributes:
        path: the file; "" if the rows come from lists.
        lines: for each row the line where it starts, or its number, from 1.
        columns: the T texts of the rows: two to compare; or a query, a
            document that answers it, and documents that do not.
        labels: a score of each row, or None.
        others: documents to search besides those of the rows.
    """

    path: str
    lines: list[int]
    columns: tuple[list[str], ...]
    labels: list[float] | None = None
    others: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[list[str], ...]:
        """The columns."""
        return self.columns

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.lines)

    def with_others(self, texts: Iterable[str]) -> "Texts":
        """The same with more documents to search."""
        return dataclasses.replace(self, others=(*self.others, *texts))


def read_table(
    path: str,
    text_columns: Sequence[str],
    label_column: str | None,
    *,
    header: Sequence[str] | None = None,
    encoding: str = "utf-8",
) -> Texts:
    """Reads rows of texts, with scores if a label column is named.

    Args: see `tables.read_table`.
    Raises: as `tables.read_table` does; and ValueError, naming file and line,
        for a label that is no number or a row whose second text, the
        positive, is blank.
    """
    rows = tables.read_table(
        path, text_columns, label_column, header=header, encoding=encoding
    )
    labels = tables.label_numbers(rows) if label_column else None
    return with_pairs(Texts(path, rows.lines, rows.texts, labels))


def with_pairs(rows: Texts) -> Texts:
    """Checks texts; a row of a single one is a pair of it with itself.

    Dropout then makes the two vectors differ (Gao et al. 2021,
    arXiv:2104.08821, section 3).
    """
    if len(rows.columns) == 1:
        return dataclasses.replace(rows, columns=rows.columns * 2)
    for column in rows.columns[1:]:
        for line, text in zip(rows.lines, column, strict=True):
            if not text.strip():
                raise ValueError(
                    f"{tables.where(rows.path, line)}: an empty text; needs a "
                    "positive, and negatives if others have them."
                )
    return rows


def of_retrieval(found: Retrieval) -> Texts:
    """A row for each query and relevant document."""
    pairs = [
        (query, found.corpus[index])
        for query, relevant in zip(found.queries, found.relevant, strict=True)
        for index in relevant
    ]
    queries, documents = map(list, zip(*pairs, strict=True))
    numbers = [*range(1, len(pairs) + 1)]
    columns = queries, documents
    return Texts(found.path, numbers, columns, None, tuple(found.corpus))


def num_equal(rows: Texts) -> int:
    """The number of rows whose first two texts are equal, unless all are."""
    first, second, *_ = rows.columns
    count = sum(a == b for a, b in zip(first, second, strict=True))
    return 0 if count == len(rows) else count


def check_range(rows: Texts, low: float, high: float) -> None:
    """Checks the labels.

    Raises: ValueError, naming file and line, for one out of the range.
    """
    for line, label in zip(rows.lines, rows.labels or (), strict=False):
        if not low <= label <= high or math.isnan(label):
            raise ValueError(
                f"{tables.where(rows.path, line)}: label {label:g}; needs "
                f"{low:g} to {high:g}."
            )


def examples(
    rows: Texts,
    *,
    prompts: tuple[str, str],
    tokenizer: Tokenizer,
    max_seq_length: int,
    windows: WindowSizes | None = None,
    apart: bool,
) -> Examples:
    """Tokenizes rows once, for all epochs.

    A batch of B rows has B * T texts, those of a row one after another.

    Args:
        rows: one or more.
        prompts: what is put before the first text, and before the others.
        tokenizer: of the texts.
        max_seq_length: maximum tokens of a text's row.
        windows: in which longer texts are read; None to truncate them.
        apart: whether no training batch may have a text in two rows.
    """
    columns = {
        f"text_{index}": tf.constant([prompts[index > 0] + x for x in column])
        for index, column in enumerate(rows.columns)
    }
    room = max_seq_length - 2  # [CLS] and [SEP]
    if windows:
        room = windows.most_tokens

    def tokenize(columns):
        tokens = {name: tokenizer(text) for name, text in columns.items()}
        sizes = [x.row_lengths() for x in tokens.values()]
        kept = {name: x[:, :room] for name, x in tokens.items()}
        return {**kept, "longest": functools.reduce(tf.maximum, sizes)}

    parts = batching.map_in_chunks(columns, tokenize)
    longest = tf.cast(parts.pop("longest"), tf.int32)
    parts["labels"] = tf.constant(rows.labels or [0.0] * len(rows), tf.float32)

    def to_batch(parts):
        texts = tf.concat([parts[name] for name in columns], 0)
        count = tf.shape(parts["labels"])[0]
        order = tf.reshape(tf.range(len(columns) * count), [-1, count])
        inputs = pack_texts(
            tf.gather(texts, tf.reshape(tf.transpose(order), [-1])),
            vocabulary=tokenizer.vocabulary,
            seq_length=max_seq_length,
            windows=windows,
        )
        return inputs, {features.EMBEDDING: parts["labels"]}

    return Examples(
        parts=parts,
        lengths=tf.minimum(longest, room) + 2,
        to_batch=to_batch,
        num_truncated=int(tf.math.count_nonzero(longest > room)),
        text_ids=_text_ids(rows.columns) if apart else None,
    )


def _text_ids(columns) -> np.ndarray:
    """(rows, T) int32: equal texts have equal numbers."""
    numbers: dict[str, int] = {}
    ids = [
        [numbers.setdefault(text, len(numbers)) for text in column]
        for column in columns
    ]
    return np.array(ids, np.int32).T
