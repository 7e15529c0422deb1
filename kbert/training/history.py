# SPDX-License-Identifier: Apache-2.0
"""The history of a run: history.jsonl and TensorBoard's files.

A line is {"step": ..., "<name>": ...}; a step may have several lines. A line
of validation scores, whose names start with "held_out_", also names the metric
and the data: scores are compared only where both are equal. TensorBoard has
the values in groups: train/<name>, validation/<name> and speed/<name>.
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
class ValidationPoint:
    """The validation scores of a step.

    Attributes:
        step: the step.
        scores: losses and metrics by name.
        metric: the score whose highest value tells the best step; or "loss",
            the sum of the losses of all outputs, whose lowest value does.
        data: a name of the validation data.
    """

    step: int
    scores: Mapping[str, float]
    metric: str = "loss"
    data: str = ""

    @property
    def number(self) -> float:
        """The value of the metric."""
        if self.metric != "loss":
            return self.scores[self.metric]
        names = [name for name in self.scores if name.endswith("loss")]
        return sum(self.scores[name] for name in names)

    @property
    def merit(self) -> float:
        """The number, negated for a loss: a higher merit is better."""
        return -self.number if self.metric == "loss" else self.number

    def __str__(self) -> str:
        """Such as "accuracy 0.8600"."""
        return f"{self.metric.replace('_', ' ')} {self.number:.4f}"


def best(points: Iterable[ValidationPoint]) -> ValidationPoint | None:
    """The best of the points with the last one's metric and data.

    Returns: the first of equally good ones; None if no number is finite.
    """
    finite = [x for x in _comparable(points) if math.isfinite(x.number)]
    return max(finite, key=lambda x: x.merit, default=None)


def since_best(points: Iterable[ValidationPoint]) -> int:
    """The number of points after the best; of all points if none is best."""
    comparable = _comparable(points)
    found = best(comparable)
    return len(comparable) - (1 + comparable.index(found) if found else 0)


def _comparable(points):
    points = list(points)
    return [
        x
        for x in points
        if (x.metric, x.data) == (points[-1].metric, points[-1].data)
    ]


class History:
    """The history up to a step, to which later steps are added.

    Lines of later steps are removed: their checkpoints were lost. With several
    processes only the chief reads and writes.

    Args:
        output_dir: folder of the run; it is made when missing.
        done: the step that the run is resumed from.

    Attributes:
        points: all validation scores of the run, in order.
    """

    def __init__(self, output_dir: str | os.PathLike, done: int):
        output = pathlib.Path(output_dir)
        self.points: list[ValidationPoint] = []
        self._writes = tf.distribute.get_strategy().extended.should_save_summary
        if not self._writes:
            return
        output.mkdir(parents=True, exist_ok=True)
        self._path = output / HISTORY_FILE
        atomic_files.write_text(self._path, "".join(self._lines_until(done)))
        self.points = validation_points(output)
        self._writer = tf.summary.create_file_writer(
            str(output / "tensorboard")
        )

    def _lines_until(self, done):
        if not self._path.exists():
            return
        # An incomplete last line belongs to a lost step.
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

    def log_validation(self, point: ValidationPoint) -> None:
        """Writes validation scores, whose names lack "held_out_" here."""
        values = {HELD_OUT + name: x for name, x in point.scores.items()}
        compared_by = {"metric": point.metric, "data": point.data}
        scalars = {f"validation/{name}": x for name, x in point.scores.items()}
        self._write(point.step, values | compared_by, scalars)
        self.points.append(point)

    def _write(self, step, values, scalars):
        if not self._writes:
            return
        with self._writer.as_default():
            for name, value in scalars.items():
                tf.summary.scalar(name, value, step=step)
        self._writer.flush()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def validation_points(output_dir: str | os.PathLike) -> list[ValidationPoint]:
    """The validation scores in a run's history.jsonl, in order.

    Raises: ValueError, naming the file, if a line is not as it was written;
        OSError.
    """
    found = []
    for values in _read(pathlib.Path(output_dir) / HISTORY_FILE):
        scores = {
            name.removeprefix(HELD_OUT): value
            for name, value in values.items()
            if name.startswith(HELD_OUT)
        }
        if scores:
            compared_by = values.get("metric", "loss"), values.get("data", "")
            found.append(ValidationPoint(values["step"], scores, *compared_by))
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
