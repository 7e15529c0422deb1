# SPDX-License-Identifier: Apache-2.0
"""transformers' models with a standard PyTorch training loop.

Batches are drawn at random and padded to their longest row. Tokenization is
done before and not timed. The optimizer is the fused AdamW, the default of
transformers' Trainer.
"""

import importlib
import importlib.metadata
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
import transformers

from benchmarks import finetune_sides
from benchmarks.finetune_sides import Result, Run

Batch = dict[str, torch.Tensor]

# What is a task's own: see `pytorch_tasks`.
_MODULES = {
    "classification": "text",
    "regression": "text",
    "tagging": "words",
    "question_answering": "questions",
    "multiple_choice": "choices",
}


def task_module(task: str) -> Any:
    """The module of `pytorch_tasks` that knows a task."""
    return importlib.import_module(
        f"benchmarks.finetune_sides.pytorch_tasks.{_MODULES[task]}"
    )


def finetune(run: Run) -> Result:
    """Trains and answers on batches padded to their longest."""
    module = task_module(run.data.task)
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.model)
    rows, labels = module.training_rows(run.data, tokenizer)
    pad_rows = getattr(module, "pad", pad)

    def epoch_batches(epoch: int) -> list[Batch]:
        order = random.Random(f"{run.seed} {epoch}").sample(rows, len(rows))
        size = run.batch_size
        return [
            pad_rows(order[start : start + size], tokenizer.pad_token_id)
            for start in range(0, len(order), size)
        ]

    return train(run, epoch_batches, len(rows), labels)


def train(
    run: Run,
    epoch_batches: Callable[[int], list[Batch]],
    num_rows: int,
    labels: list[str],
) -> Result:
    """Fine-tunes on the batches of each epoch and answers the dev file."""
    module = task_module(run.data.task)
    torch.manual_seed(run.seed)
    model = module.make_model(run, labels)
    steps = run.epochs * -(-num_rows // run.batch_size)
    optimizer, schedule = make_optimizer(model, run, steps)
    seconds = []
    for epoch in range(run.epochs):
        batches = epoch_batches(epoch)
        start = time.perf_counter()
        train_steps(model, optimizer, schedule, batches)
        seconds.append(time.perf_counter() - start)
    model.eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.model)
    with torch.no_grad():
        answers = module.answers(model, run.data, tokenizer, labels)
    return Result(
        answers=answers,
        epoch_seconds=seconds,
        versions={
            name: importlib.metadata.version(name)
            for name in ("torch", "transformers")
        },
    )


def pad(rows: list[dict[str, Any]], pad_id: int) -> Batch:
    """A batch of rows; input_ids, token_type_ids and labels may be lists.

    attention_mask follows from the lengths; labels of padding are -100.
    """
    fill = {"input_ids": pad_id, "labels": -100}
    batch = {}
    for name in rows[0]:
        values = [torch.tensor(row[name]) for row in rows]
        if values[0].dim():
            batch[name] = torch.nn.utils.rnn.pad_sequence(
                values, batch_first=True, padding_value=fill.get(name, 0)
            )
        else:
            batch[name] = torch.stack(values)
    ones = [torch.ones(len(row["input_ids"]), dtype=torch.long) for row in rows]
    mask = torch.nn.utils.rnn.pad_sequence(ones, batch_first=True)
    return {**batch, "attention_mask": mask}


def make_optimizer(
    model: torch.nn.Module, run: Run, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW and its schedule for so many steps."""
    decayed, rest = [], []
    for name, parameter in model.named_parameters():
        plain = name.endswith("bias") or "LayerNorm" in name
        (rest if plain else decayed).append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": finetune_sides.WEIGHT_DECAY},
            {"params": rest, "weight_decay": 0.0},
        ],
        lr=run.learning_rate,
        eps=finetune_sides.EPSILON,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, _rate_shares(int(finetune_sides.WARM_UP * steps), steps)
    )
    return optimizer, schedule


def _rate_shares(warm_up: int, steps: int) -> Callable[[int], float]:
    """As kbert's WarmupDecay: the first step has a rate above 0 already."""

    def share(step: int) -> float:
        up = (step + 1) / max(warm_up, 1)
        past = (step - warm_up) / (steps - warm_up)
        return min(up, 1 - min(max(past, 0.0), 1.0))

    return share


def train_steps(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterable[Batch],
    loss: Callable[[torch.nn.Module, Batch], torch.Tensor] | None = None,
) -> None:
    """A step for each batch, with the model's own loss or another."""
    model.train()
    for batch in batches:
        value = loss(model, batch) if loss else model(**batch).loss
        value.backward()
        torch.nn.utils.clip_grad_norm_(
            model.parameters(), finetune_sides.CLIP_NORM
        )
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
