# SPDX-License-Identifier: Apache-2.0
"""Makes kbert's batches for other sides in a separate process.

So the processes of the sides have no threads of TensorFlow.
"""

import concurrent.futures
import multiprocessing
from typing import Any

import numpy as np

from benchmarks.finetune_sides import Run


def make(run: Run) -> list[list[dict[str, Any]]]:
    """The arrays of each batch of each epoch.

    Each batch has inputs and labels by kbert's names, and the weights of
    output NAME as weights_NAME.
    """
    with concurrent.futures.ProcessPoolExecutor(
        max_workers=1, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        return pool.submit(_make, run).result()


def _make(run: Run) -> list[list[dict[str, Any]]]:
    from benchmarks.finetune_sides import kbert
    from kbert.checkpoints import huggingface
    from kbert.data import batching

    task, rows = kbert.read(run, huggingface.load(run.model))
    examples = task.examples(rows)
    steps = batching.steps_per_epoch(examples, run.batch_size)
    dataset = batching.dataset(
        examples, batch_size=run.batch_size, seed=run.seed
    )
    arrays = [flat(*batch) for batch in dataset.take(run.epochs * steps)]
    return [arrays[i : i + steps] for i in range(0, len(arrays), steps)]


def flat(inputs, labels, weights=None) -> dict[str, np.ndarray]:
    """A batch's arrays by name."""
    tensors = {
        **inputs,
        **labels,
        **{f"weights_{k}": v for k, v in (weights or {}).items()},
    }
    return {name: np.asarray(tensor) for name, tensor in tensors.items()}
