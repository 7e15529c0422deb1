# SPDX-License-Identifier: Apache-2.0
"""The steps of sentence-transformers' losses in PyTorch."""

import itertools
import os
from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses

from benchmarks.embedding_sides import (
    CLIP,
    EPSILON,
    MAX_SEQ_LENGTH,
    RATE,
    Work,
)


def make(work: Work) -> Callable[[], float]:
    """Makes a function that takes the next step and returns its loss."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = SentenceTransformer(work.model, device="cpu")
    model.max_seq_length = MAX_SEQ_LENGTH
    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    model.train()
    loss = _loss(model, work)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RATE, eps=EPSILON, weight_decay=0.0
    )
    columns, labels = work.columns()
    size = work.batch_size
    starts = range(0, len(labels) - size + 1, size)
    batches = itertools.cycle(
        [
            (
                [model.preprocess(x[start : start + size]) for x in columns],
                torch.tensor(labels[start : start + size]),
            )
            for start in starts
        ]
    )

    def step() -> float:
        features, target = next(batches)
        optimizer.zero_grad()
        value = loss([dict(x) for x in features], target)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return value.item()

    return step


def _loss(model, work) -> Any:
    size = work.batch_size // work.parts
    if work.loss == "ranking":
        ranking = losses.MultipleNegativesRankingLoss
        if work.symmetric:
            ranking = losses.MultipleNegativesSymmetricRankingLoss
        if work.parts > 1:
            return losses.CachedMultipleNegativesRankingLoss(
                model, mini_batch_size=size
            )
        made = ranking(model)
    elif work.loss == "cosent":
        made = losses.CoSENTLoss(model)
    elif work.loss == "cosine":
        made = losses.CosineSimilarityLoss(model)
    elif work.loss == "triplet":
        made = losses.TripletLoss(model, triplet_margin=1.0)
    else:
        made = losses.MarginMSELoss(model)
    if work.matryoshka:
        made = losses.MatryoshkaLoss(model, made, [*work.matryoshka])
    return made
