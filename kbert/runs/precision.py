# SPDX-License-Identifier: Apache-2.0
"""What fewer bits cost a model: its task's scores and its time, measured."""

import os
import time
from typing import NamedTuple

import keras

from kbert.checkpoints import folder
from kbert.runs.jobs.job import Job
from kbert.runs.markdown import table
from kbert.runs.progress import Progress
from kbert.runs.run import POLICIES
from kbert.serving.reduced_weights import ReducedWeights
from kbert.serving.signatures import Signatures

_BATCH_SIZE = 32
_AT_ONCE = 4 * _BATCH_SIZE  # rows, before it is the other's turn
_ABOUT = {
    "bfloat16": "Matrix products are in bfloat16, and so are the matrices of "
    "the encoder in the file; all else is float32. It is for processors with "
    "such products (AVX512-BF16, AMX); on others it may be slower.",
    "int8": "The matrices of the encoder are in int8 in the file, with a scale "
    "for each column, or row of the token table. They become float32 when the "
    "model is loaded.",
}


def load(model: str | os.PathLike, precision: str) -> Signatures:
    """A model folder's graphs in a precision.

    Args:
        model: the folder.
        precision: "bfloat16" or "int8".
    Raises: ValueError, OSError.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES.get(precision, "float32"))
    try:
        loaded = folder.load(model)
    finally:
        keras.config.set_dtype_policy(policy)
    return Signatures(
        loaded.model,
        vocabulary=loaded.vocabulary,
        spec=loaded.spec,
        reduced=ReducedWeights(loaded.model, precision),
    )


class Cost(NamedTuple):
    """Of a precision, on a file of a task.

    Attributes:
        path: the file.
        rows: of it.
        metric: the score by which the task's models are chosen.
        scores: of float32 and of the precision.
        rows_per_second: likewise, from raw text to answers, 32 at a time, in
            turn in one process.
    """

    path: str
    rows: int
    metric: str
    scores: tuple[dict[str, float], dict[str, float]]
    rows_per_second: tuple[float, float]

    @property
    def drop(self) -> float:
        """By how much the metric is lower; below 0 if it is higher."""
        before, after = (scores[self.metric] for scores in self.scores)
        return before - after

    def markdown(self, precision: str) -> str:
        """A part of an export's README."""
        rows = [
            (name, before, after, f"{after - before:+.4f}")
            for name, (before, after) in _pairs(*self.scores)
        ]
        before, after = self.rows_per_second
        head = ("", "float32", precision, "change")
        speed = (f"{before:.1f}", f"{after:.1f}", f"x {after / before:.2f}")
        return "\n".join(
            [
                "",
                "## Precision",
                "",
                _ABOUT[precision],
                "",
                f"Measured on {os.path.basename(self.path)}, {self.rows:,} "
                "rows, on the machine that exported:",
                "",
                table(head, [*rows, ("rows a second", *speed)]),
                "",
            ]
        )


def _pairs(before, after):
    return [
        (name, (value, after[name]))
        for name, value in before.items()
        if isinstance(value, float)
    ]


def cost(full: Signatures, reduced: Signatures, job: Job, path: str) -> Cost:
    """Answers a file with a model and with its reduced form.

    Args:
        full: of the model in float32.
        reduced: what `load` gave of the same folder.
        job: of the model's task.
        path: a file of the task, with labels.
    Raises: ValueError, naming file and line; OSError.
    """
    rows = job.read(path, full.spec)
    answers, seconds = ([], []), [0.0, 0.0]
    progress = Progress()
    for start in range(0, len(rows), _AT_ONCE):
        columns = [column[start : start + _AT_ONCE] for column in rows.texts]
        for side, signatures in enumerate((full, reduced)):
            if not start:  # what the first call does besides
                signatures.by_name()
                signatures.server.predict(*(x[:1] for x in columns))
            began = time.perf_counter()
            answers[side].extend(
                signatures.server.predict(*columns, batch_size=_BATCH_SIZE)
            )
            seconds[side] += time.perf_counter() - began
        progress("measuring the precision", len(answers[0]), len(rows))
    before, after = (job.scores(x, rows, full.spec) for x in answers)
    return Cost(
        path=path,
        rows=len(rows),
        metric=job.metric_of(full.spec),
        scores=(before, after),
        rows_per_second=(len(rows) / seconds[0], len(rows) / seconds[1]),
    )
