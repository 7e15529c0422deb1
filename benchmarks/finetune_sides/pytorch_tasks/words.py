# SPDX-License-Identifier: Apache-2.0
"""Entities: BertForTokenClassification."""

from typing import Any

import torch
import transformers

from benchmarks.finetune_sides import Data, Run, pytorch
from kbert.tasks.tagging import conll

_DEV_BATCH = 32
_NO_LABEL = -100


def training_rows(
    data: Data, tokenizer: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    """Ids of each sentence, a tag at the first token of each word."""
    sentences = conll.read(data.train)
    labels = sorted({tag for row in sentences.tags for tag in row})
    rows = []
    encoded = _encode(data, tokenizer, sentences.words)
    for row_index, tags in enumerate(sentences.tags):
        at = _first_tokens(encoded, row_index)
        ids = encoded["input_ids"][row_index]
        targets = [_NO_LABEL] * len(ids)
        for token, word in at.items():
            targets[token] = labels.index(tags[word])
        rows.append({"input_ids": ids, "labels": targets})
    return rows, labels


def make_model(run: Run, labels: list[str]) -> torch.nn.Module:
    """With a class for each tag."""
    return transformers.BertForTokenClassification.from_pretrained(
        run.model, num_labels=len(labels)
    )


def outputs(found: Any) -> torch.Tensor:
    """The logits (B, S, C)."""
    return found.logits


def answers(
    model: torch.nn.Module, data: Data, tokenizer: Any, labels: list[str]
) -> list[dict[str, Any]]:
    """A tag for each word; words that were truncated are O."""
    words = conll.read(data.dev).words
    encoded = _encode(data, tokenizer, words)
    ids = encoded["input_ids"]
    found = [{"tags": ["O"] * len(row)} for row in words]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for start in range(0, len(order), _DEV_BATCH):
        indices = order[start : start + _DEV_BATCH]
        rows = [{"input_ids": ids[i]} for i in indices]
        batch = pytorch.pad(rows, tokenizer.pad_token_id)
        best = model(**batch).logits.argmax(-1).tolist()
        for row_index, row in zip(indices, best, strict=True):
            for token, word in _first_tokens(encoded, row_index).items():
                found[row_index]["tags"][word] = labels[row[token]]
    return found


def _encode(data: Data, tokenizer: Any, words: list[list[str]]) -> Any:
    return tokenizer(
        words,
        is_split_into_words=True,
        truncation=True,
        max_length=data.options["max_seq_length"],
    )


def _first_tokens(encoded: Any, row_index: int) -> dict[int, int]:
    """The word of each token that begins one."""
    first: dict[int, int] = {}
    for token, word in enumerate(encoded.word_ids(row_index)):
        if word is not None:
            first.setdefault(word, token)
    return {token: word for word, token in first.items()}
