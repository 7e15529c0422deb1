# SPDX-License-Identifier: Apache-2.0
"""One of several texts: BertForMultipleChoice."""

from typing import Any

import torch
import transformers

from benchmarks.finetune_sides import Data, Run, pytorch
from kbert.data import tables

_DEV_BATCH = 16


def training_rows(
    data: Data, tokenizer: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    """Ids of each choice, one list after another, and the right one."""
    rows, labels = _encode(data, tokenizer, data.train)
    return [
        {"choices": row, "labels": label}
        for row, label in zip(rows, labels, strict=True)
    ], []


def make_model(run: Run, labels: list[str]) -> torch.nn.Module:
    """With one score for each choice."""
    return transformers.BertForMultipleChoice.from_pretrained(run.model)


def outputs(found: Any) -> torch.Tensor:
    """The logits (B, C)."""
    return found.logits


def pad(rows: list[dict[str, Any]], pad_id: int) -> pytorch.Batch:
    """A batch (B, C, S) of rows of choices."""
    flat = [choice for row in rows for choice in row["choices"]]
    batch = {
        name: values.reshape(len(rows), -1, values.shape[-1])
        for name, values in pytorch.pad(flat, pad_id).items()
    }
    labels = [row["labels"] for row in rows if "labels" in row]
    return batch | ({"labels": torch.tensor(labels)} if labels else {})


def answers(
    model: torch.nn.Module, data: Data, tokenizer: Any, labels: list[str]
) -> list[dict[str, Any]]:
    """The best choice of each row of the dev file."""
    rows, _ = _encode(data, tokenizer, data.dev)
    found = []
    for start in range(0, len(rows), _DEV_BATCH):
        some = [{"choices": row} for row in rows[start : start + _DEV_BATCH]]
        logits = model(**pad(some, tokenizer.pad_token_id)).logits
        found += [{"choice": index} for index in logits.argmax(-1).tolist()]
    return found


def _encode(
    data: Data, tokenizer: Any, path: str
) -> tuple[list[list[dict[str, Any]]], list[int]]:
    options = data.options
    columns = [*options["text_columns"], *options["choice_columns"]]
    rows = tables.read_table(path, columns, options["label_column"])
    prompts, *choices = rows.texts
    by_choice = [
        tokenizer(
            prompts,
            choice,
            truncation=True,
            max_length=options["max_seq_length"],
        )
        for choice in choices
    ]
    names = ("input_ids", "token_type_ids")
    encoded = [
        [{name: x[name][i] for name in names} for x in by_choice]
        for i in range(len(rows))
    ]
    return encoded, [int(label) for label in rows.labels or ()]
