# SPDX-License-Identifier: Apache-2.0
"""kbert's steps, as kbert-finetune takes them."""

import itertools
from collections.abc import Callable

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
    settings = {
        "loss": work.loss,
        "symmetric": work.symmetric,
        "matryoshka": work.matryoshka,
    }
    embedder = kbert.Embedder.from_pretrained(
        work.model, max_seq_length=MAX_SEQ_LENGTH, dropout=0.0, **settings
    )
    columns, labels = work.columns()
    examples = embedder.examples(
        embedder.rows(tuple(columns), labels if work.loss in LABELLED else None)
    )
    model, _ = finetuning.training_model(
        embedder.keras_model,
        batching.used_token_ids(examples, embedder.vocabulary),
        xla=False,
    )
    trainer = Trainer(
        model,
        losses=embedder.losses(),
        metrics=embedder.metrics(),
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
        return trainer.means.take()["embedding_loss"]

    tf.random.set_seed(0)
    return step
