# SPDX-License-Identifier: Apache-2.0
"""Measures the effect of reduced precision on scores and speed."""

import dataclasses
import os
import time
from typing import NamedTuple

import keras

from kbert import tasks
from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel
from kbert.markdown import escape, table
from kbert.runs import scoring
from kbert.runs.progress import Progress
from kbert.serving.signatures import Signatures
from kbert.tasks.labelled import LabelledTask
from kbert.tasks.rows import DataOptions, Rows

_BATCH_SIZE = 32
_AT_ONCE = 4 * _BATCH_SIZE  # rows, before it is the other's turn
_ABOUT = {
    "bfloat16": "The encoder's matrix products are in bfloat16, and so are its "
    "matrices in the file; all else is float32. It is for processors with "
    "such products (AVX512-BF16, AMX); on others it may be slower.",
    "int8": "The encoder's matrices are int8 in the file, with a scale for "
    "each column, or row of the token table. They become float32 when the "
    "model is loaded.",
}


class Cost(NamedTuple):
    """Of a precision, on a file of a task.

    Attributes:
        path: the file.
        rows: of it.
        metric: the score of what the model answers as it is exported.
        scores: of float32 and of the precision.
        rows_per_second: of both, from raw text to answers, 32 at a time, in
            turn in one process.
    """

    path: str
    rows: int
    metric: str
    scores: tuple[dict[str, float], dict[str, float]]
    rows_per_second: tuple[float, float]

    def check(self, max_drop: float) -> None:
        """Raises: ValueError if the metric falls by more, or to no number."""
        before, after = (scores[self.metric] for scores in self.scores)
        if not before - after <= max_drop:  # nan is refused too
            raise ValueError(
                f"--max_score_drop={max_drop:g}: {self.metric} on {self.path} "
                f"goes from {before:.4f} to {after:.4f} at reduced precision."
            )

    def markdown(self, precision: str) -> str:
        """A part of an export's README."""
        before, after = self.scores
        rows = [
            (name, value, after[name], f"{after[name] - value:+.4f}")
            for name, value in before.items()
            if isinstance(value, float)
        ]
        head = ("", "float32", precision, "change")
        return "\n".join(
            [
                "",
                "## Precision",
                "",
                _ABOUT[precision],
                "",
                f"Measured on {escape(os.path.basename(self.path))}, "
                f"{self.rows:,} rows:",
                "",
                table(head, rows),
                "",
            ]
        )

    def speed(self, precision: str) -> str:
        """The speed on this machine, which is not written to the export."""
        full, reduced = self.rows_per_second
        return (
            f"rows a second on this machine: {full:.1f} in float32, "
            f"{reduced:.1f} in {precision}, x {reduced / full:.2f}"
        )


def reduce(
    full: LoadedModel,
    precision: str,
    *,
    options: DataOptions,
    dev: str,
    max_drop: float,
) -> tuple[LoadedModel, Signatures, str]:
    """A model in reduced precision, if it then answers as well.

    Args:
        full: the model in float32.
        precision: "bfloat16" or "int8".
        options: how files are read.
        dev: a file of the task with labels, to measure the cost on.
        max_drop: by how much the task's metric may be lower.
    Returns: the model, its signatures in that precision, and what is to be
        said of it in the export's README.
    Raises: ValueError, naming file and line or the flag; OSError.
    """
    task = tasks.task_class(full.spec.task)(full)
    rows = task.read(dev, options, full.spec)
    # Sees that the model knows the labels.
    scoring.tokenized(task, rows, options)
    loaded = _in_bfloat16(full) if precision == "bfloat16" else full
    signatures = _signatures(loaded, precision)
    found = cost(_signatures(full), signatures, task, rows)
    about = found.markdown(precision)
    print(about)
    print(found.speed(precision))
    found.check(max_drop)
    return loaded, signatures, about


def _signatures(loaded, precision="float32"):
    return Signatures(
        loaded.model,
        vocabulary=loaded.vocabulary,
        spec=loaded.spec,
        precision=precision,
    )


def _in_bfloat16(full) -> LoadedModel:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tasks.build(full.config, full.spec)
    finally:
        keras.config.set_dtype_policy(policy)
    folder.copy_weights(full.model, model)
    return dataclasses.replace(full, model=model)


def cost(
    full: Signatures, reduced: Signatures, task: LabelledTask, rows: Rows
) -> Cost:
    """Has a model and its reduced form answer the rows of a file.

    Args:
        full: of the model in float32.
        reduced: of the same in reduced precision.
        task: the model in float32.
        rows: with labels that the model knows.
    """
    answers, seconds = ([], []), [0.0, 0.0]
    progress = Progress()
    for start in range(0, len(rows), _AT_ONCE):
        columns = [column[start : start + _AT_ONCE] for column in rows.texts]
        for side, signatures in enumerate((full, reduced)):
            if not start:  # the first call makes the graph
                signatures.predict(*(column[:1] for column in columns))
            began = time.perf_counter()
            found = signatures.predict(*columns, batch_size=_BATCH_SIZE)
            seconds[side] += time.perf_counter() - began
            answers[side].extend(found)
        progress("measuring the precision", len(answers[0]), len(rows))
    before, after = (task.scores(x, rows) for x in answers)
    return Cost(
        path=rows.path,
        rows=len(rows),
        # Not `selection_metric`, which may tune a threshold for each side.
        metric=task.metric,
        scores=(before, after),
        rows_per_second=(len(rows) / seconds[0], len(rows) / seconds[1]),
    )
