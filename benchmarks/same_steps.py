# SPDX-License-Identifier: Apache-2.0
"""Compares training steps of kbert and PyTorch on the same batches.

Both start from the same encoder and head, without dropout. kbert's side writes
the batches, the head and its outputs; PyTorch then takes the same steps.
"""

import importlib
from typing import Any

import numpy as np

from benchmarks import finetune_runs
from benchmarks.finetune_sides import Run
from benchmarks.steps_sides import Arrays

_MASKED = -1e8  # below this a logit is of what may not be chosen
_NEAR = 0.01  # numbers that agree are this near to each other


def compare(run: Run) -> dict[str, Any]:
    """Runs both sides, each in a separate process.

    Returns: "head", transformers' class; "difference", the largest difference
        of a logit after one step; "agree", the share of equal dev predictions
        after all steps; "predictions", their number; "versions".
    """
    given, ours = finetune_runs.in_new_process(_train, "kbert", run)
    head, theirs = finetune_runs.in_new_process(_train, "pytorch", run, given)
    chosen = ours.first > _MASKED
    same = np.concatenate(
        [
            agree(a, b, batch, given.output)
            for a, b, batch in zip(ours.dev, theirs.dev, given.dev, strict=True)
        ]
    )
    return {
        "head": head,
        "difference": float(np.abs(ours.first - theirs.first)[chosen].max()),
        "agree": float(same.mean()),
        "predictions": len(same),
        "versions": ours.versions | theirs.versions,
    }


def _train(side: str, *args: Any) -> Any:
    return importlib.import_module(f"benchmarks.steps_sides.{side}").train(
        *args
    )


def agree(
    ours: np.ndarray, theirs: np.ndarray, batch: Arrays, output: str
) -> np.ndarray:
    """Whether each prediction of a batch is the same.

    Args:
        ours: (B,) values, or logits, (B, C), (B, S, C) or (B, 2, S).
        theirs: the same of PyTorch, including logits of tokens that are not
            valid answers.
        batch: with "weights_<output>" where some tokens do not count.
        output: "value" or "logits".
    """
    if output == "value":
        return np.abs(ours - theirs) < _NEAR
    theirs = np.where(ours > _MASKED, theirs, ours)
    same = ours.argmax(-1) == theirs.argmax(-1)
    counted = batch.get(f"weights_{output}", np.ones(1))
    if counted.shape == same.shape and same.ndim > 1:
        return same[counted > 0]
    return same.reshape(len(same), -1).all(1)
