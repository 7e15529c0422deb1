# SPDX-License-Identifier: Apache-2.0
"""kbert's steps, with the batches and the initial head."""

import dataclasses
import importlib.metadata

import keras
import numpy as np
import tensorflow as tf

from benchmarks.finetune_sides import Run, kbert
from benchmarks.finetune_sides.kbert_batches import flat
from benchmarks.steps_sides import STEPS, Given, Outputs
from kbert.checkpoints import huggingface
from kbert.checkpoints.folder import LoadedModel
from kbert.data import batching

_DEV_ROWS = 32  # of a batch
_DEV_BATCHES = 40  # at most


def train(run: Run) -> tuple[Given, Outputs]:
    """Trains without dropout."""
    encoder = _without_dropout(huggingface.load(run.model))
    task, rows = kbert.read(run, encoder)
    kbert.build(task, run.seed)
    model = task.keras_model
    kernel, bias = _head(model).get_weights()
    (output,) = model.output
    examples = task.examples(rows)
    dataset = batching.dataset(
        examples, batch_size=run.batch_size, seed=run.seed
    )
    batches = list(dataset.take(STEPS))
    dev = _spread(task.examples(kbert.dev_rows(run, task)))
    reduced, write_back = kbert.training_model(task, examples)
    trainer = kbert.make_trainer(reduced, task, run, STEPS)

    def answer(batch):
        write_back()
        return np.asarray(model(batch[0], training=False)[output])

    trainer.train_step(batches[0])
    first = answer(batches[0])
    for batch in batches[1:]:
        trainer.train_step(batch)
    outputs = Outputs(
        first,
        [answer(batch) for batch in dev],
        {p: importlib.metadata.version(p) for p in ("tensorflow", "keras")},
    )
    arrays = [[flat(*batch) for batch in part] for part in (batches, dev)]
    return Given(output, *arrays, kernel, bias), outputs


def _without_dropout(encoder: LoadedModel) -> LoadedModel:
    config = encoder.config.with_dropout(0.0)
    return dataclasses.replace(encoder, config=config)


def _head(model: keras.Model) -> keras.layers.Dense:
    (head,) = (
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.Dense) and layer.name != "pooler"
    )
    return head


def _spread(examples: batching.Examples) -> list[tf.Tensor]:
    """Batches of all lengths."""
    count = batching.steps_per_epoch(examples, _DEV_ROWS)
    batches = batching.dataset(
        batching.sorted_by_length(examples), batch_size=_DEV_ROWS, seed=None
    )
    return list(batches.shard(-(-count // _DEV_BATCHES), 0))
