# SPDX-License-Identifier: Apache-2.0
"""What a run has told of its steps: history.jsonl, and TensorBoard's files.

A line is {"step": ..., "<name>": ...}; several of one step add up. Held-out
scores, whose names begin with "held_out_", stand in lines of their own, with
the metric and the data by which they may be compared. TensorBoard has them in
groups: train/<name>, validation/<name> and speed/<name>.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Annotated, NotRequired, TypedDict

import tensorflow as tf

from kbert import atomic_files, json_files
from kbert.json_files import Range
from kbert.training import throughput

HISTORY_FILE = "history.jsonl"
HELD_OUT = "held_out_"


@dataclasses.dataclass(frozen=True)
class Scored:
    """The held-out scores of a step: losses and metrics by name.

    Attributes:
        step: whose.
        scores: by name.
        metric: the one that tells the best step, the higher the better; or
            "loss", the sum of the losses of all outputs.
        data: a name of the held-out data.
    """

    step: int
    scores: Mapping[str, float]
    metric: str = "loss"
    data: str = ""

    @property
    def number(self) -> float:
        """Of the metric."""
        if self.metric != "loss":
            return self.scores[self.metric]
        names = [name for name in self.scores if name.endswith("loss")]
        return sum(self.scores[name] for name in names)

    @property
    def merit(self) -> float:
        """The higher, the better, whatever the metric."""
        return -self.number if self.metric == "loss" else self.number

    def __str__(self) -> str:
        """Such as "accuracy 0.8600"."""
        return f"{self.metric.replace('_', ' ')} {self.number:.4f}"


def best(scored: Iterable[Scored]) -> Scored | None:
    """The first of the best by the last one's metric, on the same data.

    None if no number is finite.
    """
    finite = [x for x in _alike(scored) if math.isfinite(x.number)]
    return max(finite, key=lambda x: x.merit, default=None)


def since_best(scored: Iterable[Scored]) -> int:
    """How many there are after the best; all if there is none."""
    alike = _alike(scored)
    found = best(alike)
    return len(alike) - (1 + alike.index(found) if found else 0)


def _alike(scored):
    scored = list(scored)
    return [
        x
        for x in scored
        if (x.metric, x.data) == (scored[-1].metric, scored[-1].data)
    ]


class History:
    """Takes up what there is up to a step; what came after it was lost.

    Of several processes the chief alone writes, and knows.

    Args:
        output_dir: folder of the run; it is made when missing.
        done: the step to go on from.
    """

    def __init__(self, output_dir: str | os.PathLike, done: int):
        output = pathlib.Path(output_dir)
        self.scored: list[Scored] = []
        self._writes = tf.distribute.get_strategy().extended.should_save_summary
        if not self._writes:
            return
        output.mkdir(parents=True, exist_ok=True)
        self._path = output / HISTORY_FILE
        atomic_files.write_text(self._path, "".join(self._lines_until(done)))
        self.scored = scored(output)
        self._writer = tf.summary.create_file_writer(
            str(output / "tensorboard")
        )

    def _lines_until(self, done):
        if not self._path.exists():
            return
        # A line that a kill cut short is of a lost step.
        for values in _read(self._path):
            if values["step"] <= done:
                yield json.dumps(values) + "\n"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a line and TensorBoard's scalars."""
        groups = {
            name: "speed" if name in throughput.MEASURES else "train"
            for name in values
        }
        scalars = {f"{groups[name]}/{name}": x for name, x in values.items()}
        self._write(step, values, scalars)

    def log_held_out(self, scored: Scored) -> None:
        """Writes held-out scores, whose names are without "held_out_"."""
        values = {HELD_OUT + name: x for name, x in scored.scores.items()}
        judged = {"metric": scored.metric, "data": scored.data}
        scalars = {f"validation/{name}": x for name, x in scored.scores.items()}
        self._write(scored.step, values | judged, scalars)
        self.scored.append(scored)

    def _write(self, step, values, scalars):
        if not self._writes:
            return
        with self._writer.as_default():
            for name, value in scalars.items():
                tf.summary.scalar(name, value, step=step)
        self._writer.flush()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def scored(output_dir: str | os.PathLike) -> list[Scored]:
    """The held-out scores in a run's history.jsonl, step by step."""
    found = []
    for values in _read(pathlib.Path(output_dir) / HISTORY_FILE):
        scores = {
            name.removeprefix(HELD_OUT): value
            for name, value in values.items()
            if name.startswith(HELD_OUT)
        }
        if scores:
            judged = values.get("metric", "loss"), values.get("data", "")
            found.append(Scored(values["step"], scores, *judged))
    return found


class _Line(TypedDict):
    step: Annotated[int, Range(at_least=0)]
    metric: NotRequired[str]
    data: NotRequired[str]


def _read(path):
    number = Annotated[float, Range(finite=False)]
    for values in json_files.read_lines(path, _Line, others=number):
        metric = HELD_OUT + values.get("metric", "loss")
        is_loss = metric == HELD_OUT + "loss"
        if "metric" in values and not is_loss and metric not in values:
            raise ValueError(
                f"{path}: step {values['step']}: metric is "
                f"{values['metric']!r}, but there is no {metric}."
            )
        yield values
