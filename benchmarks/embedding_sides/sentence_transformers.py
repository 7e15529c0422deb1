# SPDX-License-Identifier: Apache-2.0
"""The steps of sentence-transformers' losses in PyTorch."""

import functools
import itertools
import os
from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.cross_encoder import losses as pair_losses
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
    of_pairs = work.loss == "reranking"
    kind = CrossEncoder if of_pairs else SentenceTransformer
    model: Any = kind(work.model, device="cpu")
    model.max_seq_length = MAX_SEQ_LENGTH
    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    model.train()
    loss = loss_of(model, work)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RATE, eps=EPSILON, weight_decay=0.0
    )
    columns, labels = work.columns()
    size = work.batch_size
    starts = range(0, len(labels) - size + 1, size)
    batches = itertools.cycle(
        [
            (
                texts_of(model, [x[start : start + size] for x in columns]),
                torch.tensor(labels[start : start + size]),
            )
            for start in starts
        ]
    )

    def step() -> float:
        features, target = next(batches)
        optimizer.zero_grad()
        value = loss(
            features if of_pairs else [dict(x) for x in features], target
        )
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return value.item()

    return step


def texts_of(model, columns) -> list[Any]:
    """As the losses take them: tokenized, but for those of pairs."""
    if isinstance(model, CrossEncoder):
        return columns
    return [model.preprocess(column) for column in columns]


def loss_of(model, work) -> Any:
    """The module that computes it."""
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
    else:
        made = {
            "cosent": losses.CoSENTLoss,
            "cosine": losses.CosineSimilarityLoss,
            "triplet": functools.partial(
                losses.TripletLoss, triplet_margin=1.0
            ),
            "margin_mse": losses.MarginMSELoss,
            "reranking": pair_losses.BinaryCrossEntropyLoss,
        }[work.loss](model)
    if work.matryoshka:
        made = losses.MatryoshkaLoss(model, made, [*work.matryoshka])
    return made
