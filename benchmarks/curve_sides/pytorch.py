# SPDX-License-Identifier: Apache-2.0
"""transformers' BertForPreTraining on PyTorch, and torch's AdamW.

It computes the logits of the predicted tokens only, or else a step would take
several times as long: the parts of the model are called one by one.
"""

import time
from collections.abc import Iterator

import torch
import transformers
from torch.nn import functional

from benchmarks import curve_sides
from benchmarks.curve_sides import Point, Task


def train(task: Task) -> Iterator[Point]:
    """Trains, and scores the validation rows now and then."""
    model = transformers.BertForPreTraining.from_pretrained(task.start).train()
    optimizer = torch.optim.AdamW(
        _parameter_groups(model),
        lr=task.learning_rate,
        betas=(curve_sides.BETA_1, curve_sides.BETA_2),
        eps=curve_sides.EPSILON,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / max(task.warm_up_steps, 1),
            (task.steps - step) / (task.steps - task.warm_up_steps),
        ),
    )
    batches = curve_sides.read_batches(task.records, task.batch_size, task.seed)
    seconds = 0.0
    yield _point(task, model, 0, seconds)
    for step in range(1, task.steps + 1):
        batch = next(batches)
        start = time.perf_counter()
        mlm, nsp, words, pairs = _outputs(model, *batch)
        loss = functional.cross_entropy(mlm, words)
        loss += functional.cross_entropy(nsp, pairs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(
            model.parameters(), curve_sides.CLIP_NORM
        )
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        seconds += time.perf_counter() - start
        if step % task.score_every == 0 or step == task.steps:
            yield _point(task, model, step, seconds)


def _parameter_groups(model):
    decayed, rest = [], []
    for name, parameter in model.named_parameters():
        plain = name.endswith("bias") or "LayerNorm" in name
        (rest if plain else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": curve_sides.WEIGHT_DECAY},
        {"params": rest, "weight_decay": 0.0},
    ]


def _outputs(model, inputs, labels, weights):
    """Logits (N, V) of the N predictions and (B, 2), and both labels."""
    tensors = {n: torch.from_numpy(v).long() for n, v in inputs.items()}
    hidden = model.bert(
        input_ids=tensors["token_ids"],
        token_type_ids=tensors["segment_ids"],
        attention_mask=tensors["padding_mask"],
    )
    rows, positions = torch.from_numpy(weights["mlm_logits"]).nonzero().T
    predicted = hidden.last_hidden_state[
        rows, tensors["mask_positions"][rows, positions]
    ]
    mlm, nsp = model.cls(predicted, hidden.pooler_output)
    words = torch.from_numpy(labels["mlm_logits"]).long()[rows, positions]
    return mlm, nsp, words, torch.from_numpy(labels["nsp_logits"]).long()


@torch.no_grad()
def _point(task, model, step, seconds):
    model.eval()
    sums = dict.fromkeys(["mlm", "mlm_right", "nsp", "nsp_right"], 0.0)
    counts = dict.fromkeys(["mlm", "nsp"], 0)
    batches = curve_sides.read_batches(task.validation, task.batch_size, None)
    for batch in batches:
        mlm, nsp, words, pairs = _outputs(model, *batch)
        for name, logits, labels in (("mlm", mlm, words), ("nsp", nsp, pairs)):
            counts[name] += len(labels)
            sums[name] += functional.cross_entropy(
                logits, labels, reduction="sum"
            ).item()
            right = logits.argmax(-1) == labels
            sums[f"{name}_right"] += right.sum().item()
    model.train()
    return Point(
        step=step,
        seconds=seconds,
        mlm_loss=sums["mlm"] / counts["mlm"],
        mlm_accuracy=sums["mlm_right"] / counts["mlm"],
        nsp_loss=sums["nsp"] / counts["nsp"],
        nsp_accuracy=sums["nsp_right"] / counts["nsp"],
    )
