# SPDX-License-Identifier: Apache-2.0
"""PyTorch's model on kbert's own length-bucketed batches.

The batches are made before, in another process, and are not timed: PyTorch
so has a process without TensorFlow's threads, as in `pytorch`.
"""

import concurrent.futures
import multiprocessing
from typing import Any

import torch

from benchmarks.finetune_sides import BATCH_SIZE, Result, Task, pytorch


def finetune(task: Task) -> Result:
    """Trains on kbert's batches; scores as `pytorch` does."""
    with concurrent.futures.ProcessPoolExecutor(
        max_workers=1, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        epochs = pool.submit(_kbert_batches, task).result()
    rows = sum(len(batch["labels"]) for batch in epochs[0])
    return pytorch.train_model(
        task, lambda epoch: [_to_pytorch(b) for b in epochs[epoch]], rows
    )


def _kbert_batches(task: Task) -> list[list[dict[str, Any]]]:
    """The arrays of each batch of each epoch."""
    from benchmarks.finetune_sides import kbert_data
    from kbert.data import finetuning

    train = kbert_data.read_examples(
        task.train, kbert_data.read_vocabulary(task.model)
    )
    steps = finetuning.steps_per_epoch(train, BATCH_SIZE)
    batches = finetuning.dataset(
        train, batch_size=BATCH_SIZE, seed=task.seed
    ).take(task.epochs * steps)
    arrays = [
        {
            "input_ids": inputs["token_ids"],
            "attention_mask": inputs["padding_mask"],
            "labels": labels["logits"],
        }
        for inputs, labels in batches.as_numpy_iterator()
    ]
    return [arrays[i : i + steps] for i in range(0, len(arrays), steps)]


def _to_pytorch(batch: dict[str, Any]) -> pytorch.Batch:
    return {
        name: torch.from_numpy(array.astype("int64"))
        for name, array in batch.items()
    }
