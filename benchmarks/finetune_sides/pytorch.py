# SPDX-License-Identifier: Apache-2.0
"""transformers' BertForSequenceClassification, in PyTorch's usual way.

Batches are drawn at random and padded to their longest sentence. Tokenizing
is done before and is not timed. The optimizer is the fused AdamW, which is
the default of transformers' Trainer.
"""

import importlib.metadata
import random
import time
from collections.abc import Callable, Iterable

import torch
import transformers

from benchmarks import finetune_sides
from benchmarks.finetune_sides import BATCH_SIZE, Result, Task

Batch = dict[str, torch.Tensor]
Row = dict[str, list[int]]


def finetune(task: Task) -> Result:
    """Trains and scores on batches padded to their longest."""
    train = _tokenize(task, task.train)

    def epoch_batches(epoch: int) -> list[Batch]:
        order = random.Random(f"{task.seed} {epoch}").sample(train, len(train))
        return _padded(order)

    return train_model(task, epoch_batches, len(train))


def train_model(
    task: Task, epoch_batches: Callable[[int], list[Batch]], train_rows: int
) -> Result:
    """Fine-tunes on the batches that `epoch_batches` gives for each epoch."""
    torch.manual_seed(task.seed)
    model = transformers.BertForSequenceClassification.from_pretrained(
        task.model, num_labels=len(finetune_sides.LABELS)
    )
    steps = task.epochs * -(-train_rows // BATCH_SIZE)
    optimizer, schedule = _optimizer(model, steps)
    seconds = []
    for epoch in range(task.epochs):
        batches = epoch_batches(epoch)
        start = time.perf_counter()
        _train_epoch(model, optimizer, schedule, batches)
        seconds.append(time.perf_counter() - start)
    dev = _tokenize(task, task.dev)
    return Result(
        accuracy=_accuracy(model, _padded(sorted(dev, key=_length))),
        epoch_seconds=seconds,
        train_rows=train_rows,
        dev_rows=len(dev),
        versions={
            name: importlib.metadata.version(name)
            for name in ("torch", "transformers")
        },
    )


def _tokenize(task: Task, path: str) -> list[Row]:
    texts, labels = finetune_sides.read_table(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(task.model)
    encoded = tokenizer(
        texts, truncation=True, max_length=finetune_sides.MAX_LENGTH
    )
    return [
        {"input_ids": ids, "labels": [label]}
        for ids, label in zip(encoded["input_ids"], labels, strict=True)
    ]


def _length(row: Row) -> int:
    return len(row["input_ids"])


def _padded(rows: list[Row]) -> list[Batch]:
    return [
        _pad(rows[start : start + BATCH_SIZE])
        for start in range(0, len(rows), BATCH_SIZE)
    ]


def _pad(rows: list[Row]) -> Batch:
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    ones = [torch.ones_like(row) for row in ids]
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad(ids, batch_first=True),  # [PAD] is 0 in this model
        "attention_mask": pad(ones, batch_first=True),
        "labels": torch.tensor([row["labels"][0] for row in rows]),
    }


def _optimizer(
    model: torch.nn.Module, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    decayed, rest = [], []
    for name, parameter in model.named_parameters():
        plain = name.endswith("bias") or "LayerNorm" in name
        (rest if plain else decayed).append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": finetune_sides.WEIGHT_DECAY},
            {"params": rest, "weight_decay": 0.0},
        ],
        lr=finetune_sides.LEARNING_RATE,
        eps=finetune_sides.EPSILON,
        fused=True,
    )
    schedule = transformers.get_linear_schedule_with_warmup(
        optimizer, round(finetune_sides.WARM_UP * steps), steps
    )
    return optimizer, schedule


def _train_epoch(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterable[Batch],
) -> None:
    model.train()
    for batch in batches:
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(
            model.parameters(), finetune_sides.CLIP_NORM
        )
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def _accuracy(model: torch.nn.Module, batches: Iterable[Batch]) -> float:
    model.eval()
    right, count = 0, 0
    with torch.no_grad():
        for batch in batches:
            answers = model(**batch).logits.argmax(-1)
            right += int((answers == batch["labels"]).sum())
            count += len(answers)
    return right / count
