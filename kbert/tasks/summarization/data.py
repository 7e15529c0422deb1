# SPDX-License-Identifier: Apache-2.0
"""Documents, some of whose sentences are their summary."""

import dataclasses
import json

import tensorflow as tf

from kbert import features
from kbert.data import batching, tables
from kbert.data.batching import Examples
from kbert.text.sentences import (
    is_sentence,
    sentence_features,
    sentence_rows,
)
from kbert.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Documents:
    """The documents of a file.

    Attributes:
        path: the file.
        lines: of each document, from 1.
        sentences: of each document.
        labels: for each sentence 1 if it is of the summary, otherwise 0.
        summaries: the reference summary of each document.
    """

    path: str
    lines: list[int]
    sentences: list[list[str]]
    labels: list[list[int]]
    summaries: list[str]

    @property
    def texts(self) -> tuple[list[list[str]]]:
        """As the task's predictor takes them."""
        return (self.sentences,)

    def __len__(self) -> int:
        """The number of documents."""
        return len(self.sentences)


def read_documents(path: str, encoding: str = "utf-8") -> Documents:
    """Reads JSON Lines, a document each.

        {"sentences": ["One.", "Two."], "labels": [0, 1], "summary": "Two!"}

    `labels` has 1 for each sentence of the summary. Where there is no
    `summary`, these sentences are the reference, joined with spaces. Other
    fields and empty lines are ignored. A sentence may be empty: it is never
    chosen.

    Args:
        path: the file.
        encoding: of the file.
    Raises: OSError; ValueError, naming file and line, for a line that is not
        of the encoding or no such object, or a file without documents.
    """
    found = Documents(path, [], [], [], [])
    for number, row in tables.json_objects(path, encoding):
        where = f"{path}:{number}"
        found.lines.append(number)
        found.sentences.append(_sentences(where, row))
        found.labels.append(_labels(where, row))
        found.summaries.append(_summary(where, row))
        for text in (*found.sentences[-1], found.summaries[-1]):
            tables.check_text(where, text)
    if not found.lines:
        raise ValueError(f"{path}: no documents.")
    return found


def _sentences(where: str, row: dict) -> list[str]:
    found = row.get("sentences")
    if not isinstance(found, list) or {type(x) for x in found} - {str}:
        raise ValueError(
            f"{where}: sentences {_shown(found)}; needs a list of strings."
        )
    if not any(map(str.strip, found)):
        raise ValueError(f"{where}: no sentence, or only empty ones.")
    return found


def _labels(where: str, row: dict) -> list[int]:
    found = row.get("labels")
    if not isinstance(found, list):
        raise ValueError(
            f"{where}: labels {_shown(found)}; needs a list of 0 and 1."
        )
    for label in found:
        if type(label) is not int or label not in (0, 1):
            raise ValueError(
                f"{where}: a label is {_shown(label)}; needs 0 or 1."
            )
    if len(found) != len(row["sentences"]):
        raise ValueError(
            f"{where}: {len(found)} labels for {len(row['sentences'])} "
            "sentences; needs one each."
        )
    return found


def _summary(where: str, row: dict) -> str:
    if "summary" not in row:
        pairs = zip(row["sentences"], row["labels"], strict=True)
        return " ".join(sentence for sentence, label in pairs if label)
    if not isinstance(row["summary"], str):
        raise ValueError(
            f"{where}: summary {_shown(row['summary'])}; needs a string."
        )
    return row["summary"]


def _shown(value) -> str:
    return json.dumps(value, ensure_ascii=False)[:40]


def examples(
    rows: Documents, *, tokenizer: Tokenizer, max_seq_length: int
) -> Examples:
    """Tokenizes documents with labels once, for all epochs.

    An example is a row of whole sentences; a long document is several.

    Args:
        rows: one or more.
        tokenizer: of the sentences.
        max_seq_length: most tokens of a row; `num_truncated` counts the
            documents that have a longer sentence.
    """
    vocabulary = tokenizer.vocabulary

    def lay_out(columns):
        sentences, labels = columns["sentences"], columns["labels"]
        given = sentences.with_values(is_sentence(sentences.values))
        sentences = tf.ragged.boolean_mask(sentences, given)
        labels = tf.ragged.boolean_mask(labels, given)
        laid = sentence_rows(
            sentences.with_values(tokenizer(sentences.values)),
            vocabulary=vocabulary,
            seq_length=max_seq_length,
        )
        return {
            "ids": laid.ids,
            "positions": laid.positions,
            "labels": laid.positions.with_values(labels.values),
            "truncated": tf.reduce_any(laid.truncated, axis=1),
        }

    columns = {
        "sentences": tf.ragged.constant(rows.sentences, tf.string),
        "labels": tf.ragged.constant(rows.labels, tf.float32),
    }
    parts = batching.map_in_chunks(columns, lay_out)
    truncated = parts.pop("truncated")

    def to_batch(rows):
        inputs = sentence_features(
            rows["ids"], rows["positions"], vocabulary=vocabulary
        )
        counted = tf.ones_like(rows["labels"], tf.bool).to_tensor(False)
        return (
            inputs,
            {features.LOGITS: rows["labels"].to_tensor(0.0)},
            {features.LOGITS: batching.token_weights(counted)},
        )

    return Examples(
        parts=parts,
        lengths=tf.cast(parts["ids"].row_lengths(), tf.int32),
        to_batch=to_batch,
        num_truncated=int(tf.math.count_nonzero(truncated)),
    )
