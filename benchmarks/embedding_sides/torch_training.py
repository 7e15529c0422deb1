# SPDX-License-Identifier: Apache-2.0
"""Trains with sentence-transformers' losses, by kbert-finetune's recipe."""

import itertools
import os
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from benchmarks.embedding_sides import CLIP, EPSILON, Work
from benchmarks.embedding_sides import sentence_transformers as side

_WEIGHT_DECAY, _WARM_UP = 0.01, 0.1


def run(training: Any, test: Any) -> Any:
    """Trains, and embeds the test's texts or scores its candidates.

    Args:
        training: a `benchmarks.embedding_quality.Training`.
        test: texts; or queries, each with a list of texts.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(training.seed)
    model: Any
    if training.reranks:
        model = CrossEncoder(training.init, num_labels=1, device="cpu")
    else:
        model = SentenceTransformer(training.init, device="cpu")
    model.max_seq_length = training.max_seq_length
    model.train()
    _train(model, training)
    model.eval()
    if not training.reranks:
        return model.encode(test)
    return [
        model.predict([(query, text) for text in texts])
        for query, texts in test
    ]


def _train(model, training) -> None:
    rows = training.rows()
    work = Work(
        "",
        "",
        "reranking" if training.reranks else training.loss,
        matryoshka=training.matryoshka,
    )
    loss = side.loss_of(model, work)
    steps = training.epochs * -(-len(rows) // training.batch_size)
    optimizer = torch.optim.AdamW(_groups(model), lr=training.rate, eps=EPSILON)
    warm_up = int(_WARM_UP * steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / max(warm_up, 1),
            (steps - step) / max(steps - warm_up, 1),
        ),
    )
    for batch in itertools.islice(_batches(rows, training), steps):
        optimizer.zero_grad()
        texts, labels = _of_loss(batch, training)
        value = loss(side.texts_of(model, texts), torch.tensor(labels or [0.0]))
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()


def _groups(model):
    """Biases and norms have no weight decay."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    return [
        {"params": kernels, "weight_decay": _WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]


def _batches(rows, training):
    """Endless; by "ranking" no batch has a text twice."""
    draw = np.random.default_rng(training.seed)
    waiting: list[int] = []
    while True:
        batch: list[dict[str, Any]] = []
        seen: set[str] = set()
        later = []
        while len(batch) < training.batch_size:
            if not waiting:
                waiting = draw.permutation(len(rows)).tolist()
            number = waiting.pop()
            texts = {rows[number][name] for name in training.texts}
            if training.loss == "ranking" and seen & texts:
                later.append(number)
                continue
            seen |= texts
            batch.append(rows[number])
        waiting += later
        yield batch


def _of_loss(batch, training):
    """Columns of texts, and labels; of a cross-encoder pairs."""
    columns = [[row[name] for row in batch] for name in training.texts]
    if not training.reranks:
        return columns, [row.get("label", 0.0) for row in batch]
    queries, *candidates = columns
    labels = [1.0] + [0.0] * (len(candidates) - 1)
    return (
        [queries * len(candidates), [x for c in candidates for x in c]],
        [label for label in labels for _ in queries],
    )
