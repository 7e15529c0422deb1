# SPDX-License-Identifier: Apache-2.0
"""Classes and numbers of texts: BertForSequenceClassification."""

from typing import Any

import torch
import transformers

from benchmarks.finetune_sides import Data, Run, pytorch
from kbert.data import tables
from kbert.data.tables import Rows

_DEV_BATCH = 32


def training_rows(
    data: Data, tokenizer: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    """Ids and label of each row, and the labels' names, none for numbers."""
    rows = _read(data, data.train)
    given = rows.labels or []
    if data.task == "regression":
        numbers, labels = tables.label_numbers(rows), []
    else:
        labels = sorted(set(given))
        numbers = [labels.index(label) for label in given]
    encoded = _encode(data, tokenizer, rows)
    pairs = zip(encoded, numbers, strict=True)
    return [{**row, "labels": number} for row, number in pairs], labels


def make_model(run: Run, labels: list[str]) -> torch.nn.Module:
    """With a class for each label, or one number."""
    return transformers.BertForSequenceClassification.from_pretrained(
        run.model, num_labels=len(labels) or 1
    )


def outputs(found: Any) -> torch.Tensor:
    """The output as kbert's model has it: (B, C), or (B,)."""
    logits = found.logits
    return logits[:, 0] if logits.shape[1] == 1 else logits


def answers(
    model: torch.nn.Module, data: Data, tokenizer: Any, labels: list[str]
) -> list[dict[str, Any]]:
    """A label or a number for each row of the dev file."""
    rows = _encode(data, tokenizer, _read(data, data.dev))
    found: dict[int, dict[str, Any]] = {}
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
    for start in range(0, len(order), _DEV_BATCH):
        indices = order[start : start + _DEV_BATCH]
        batch = pytorch.pad([rows[i] for i in indices], tokenizer.pad_token_id)
        for index, logits in zip(indices, model(**batch).logits, strict=True):
            if labels:
                found[index] = {"label": labels[int(logits.argmax())]}
            else:
                found[index] = {"value": float(logits[0])}
    return [found[i] for i in range(len(rows))]


def _read(data: Data, path: str) -> Rows:
    options = dict(data.options)
    return tables.read_table(
        path,
        options["text_columns"],
        options["label_column"],
        header=options.get("header"),
    )


def _encode(data: Data, tokenizer: Any, rows: Rows) -> list[dict[str, Any]]:
    # The longest first, as kbert cuts and as the published code does.
    encoded = tokenizer(
        *rows.texts,
        truncation=True,
        max_length=data.options["max_seq_length"],
    )
    names = ("input_ids", "token_type_ids")
    columns = [encoded[name] for name in names]
    return [
        dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
    ]
