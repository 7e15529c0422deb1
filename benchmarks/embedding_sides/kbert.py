# SPDX-License-Identifier: Apache-2.0
"""kbert's steps, as kbert-finetune takes them."""

import itertools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

import kbert
from benchmarks.embedding_sides import (
    CLIP,
    EPSILON,
    MAX_SEQ_LENGTH,
    RATE,
    Work,
)
from kbert import process
from kbert.data import batching
from kbert.runs import finetuning
from kbert.tasks.embedding.settings import LABELLED
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.loop import Trainer


def make(work: Work) -> Callable[[], float]:
    """Makes a function that takes the next step and returns its loss."""
    process.use_onednn()
    process.keep_freed_memory()
    task = _task(work)
    columns, labels = work.columns()
    has_labels = work.loss in (*LABELLED, "reranking")
    examples = task.examples(
        task.rows(tuple(columns), labels if has_labels else None)
    )
    model, _ = finetuning.training_model(
        task.keras_model,
        batching.used_token_ids(examples, task.vocabulary),
        xla=False,
    )
    trainer = Trainer(
        model,
        losses=task.losses(),
        metrics=task.metrics(),
        optimizer=FusedAdamW(RATE, weight_decay=0.0, epsilon=EPSILON),
        clip_norm=CLIP,
        accumulate_steps=work.parts,
    )
    size = work.batch_size
    dataset = batching.dataset(examples, batch_size=size, seed=None)
    batches = itertools.cycle([*dataset.take(len(columns[0]) // size)])
    signature = dataset.element_spec
    trainer.train_step.get_concrete_function(signature)

    def step() -> float:
        trainer.train_step(next(batches))
        (loss,) = trainer.means.take().values()
        return loss

    tf.random.set_seed(0)
    return step


def _task(work: Work) -> kbert.Embedder | kbert.Reranker:
    common: Any = {"max_seq_length": MAX_SEQ_LENGTH, "dropout": 0.0}
    if work.loss == "reranking":
        return kbert.Reranker.from_pretrained(work.model, **common)
    return kbert.Embedder.from_pretrained(
        work.model,
        **common,
        loss=work.loss,
        symmetric=work.symmetric,
        matryoshka=work.matryoshka,
    )
