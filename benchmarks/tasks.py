# SPDX-License-Identifier: Apache-2.0
"""Compares the tasks with PyTorch's, from the same 6 x 384 real weights.

    --proof=steps   the same head weights and batches and no dropout on both
                    sides: differences of logits after one step, and the share
                    of equal dev predictions after 100
    --proof=scores  with dropout and each side's usual batches: dev scores and
                    the time of an epoch; PyTorch pads random batches to their
                    longest row

All train on the CPU with AdamW (rate 1e-4, epsilon 1e-6, decay 0.01 except for
biases and norms), 10 % linear warm-up, then linear decay, clipping at 1.0 and
batches of 32 (16 questions about paragraphs, 8 with choices). One process runs
at a time. Finished runs are kept in OUTPUT_DIR, so that a stopped benchmark
resumes:

    python -m benchmarks.tasks --data_dir=DIR --output_dir=out/tasks

With --untimed, other work may run at the same time, such as another set or
side: the runs then have scores and no times.
"""

import argparse
import json
import math
import pathlib
import sys

from benchmarks import finetune_runs, same_steps
from benchmarks.finetune_runs import Row
from benchmarks.finetune_sides import Run
from benchmarks.pretrain_step import processor
from benchmarks.task_sets import SETS

_SIDES = ("kbert", "pytorch")
_ONE_SEED = ("SQuAD 1.1", "SQuAD 2.0")
_RATE = 1e-4
# Rows of a step; of questions about paragraphs, and of several texts a row.
_BATCH_SIZE, _OF_LONG = 32, {"question_answering": 16, "multiple_choice": 8}


def main() -> None:
    """Runs what is missing and prints the comparison."""
    args = _parse_args()
    finetune_runs.hide_gpus()
    folder = pathlib.Path(args.output_dir)
    if args.proof == "steps":
        print(_steps_report(folder, args))
    else:
        print(_scores_report(folder, args))


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument("--output_dir", default="out/tasks")
    parser.add_argument(
        "--proof", choices=["steps", "scores"], default="scores"
    )
    parser.add_argument(
        "--sets", type=finetune_runs.among(SETS), default=list(SETS)
    )
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2])
    parser.add_argument(
        "--sides",
        type=finetune_runs.among(_SIDES),
        default=_SIDES,
        help="of the scores",
    )
    parser.add_argument(
        "--untimed", action="store_true", help="the machine has other work"
    )
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def make_run(
    name: str, data_dir: pathlib.Path, output_dir: pathlib.Path, seed: int
) -> Run:
    """The run of a set, whose files are then in output_dir/data."""
    prepare, epochs, _ = SETS[name]
    data = prepare(data_dir, output_dir / "data")
    return Run(
        model=finetune_runs.model_folder(),
        data=data,
        epochs=epochs,
        learning_rate=_RATE,
        batch_size=_OF_LONG.get(data.task, _BATCH_SIZE),
        seed=seed,
    )


def _scores_report(folder: pathlib.Path, args: argparse.Namespace) -> str:
    rows, results = finetune_runs.Rows(folder, timed=not args.untimed), {}
    for name in args.sets:
        seeds = args.seeds[:1] if name in _ONE_SEED else args.seeds
        results[name] = {side: [] for side in args.sides}
        for seed in seeds:
            for side in args.sides:
                run = make_run(name, args.data_dir, folder, seed)
                results[name][side].append(rows.get(name, side, run))
    if len(args.sides) < len(_SIDES):
        return f"The table needs the sides {', '.join(_SIDES)}."
    return format_scores(results)


def format_scores(results: dict[str, dict[str, list[Row]]]) -> str:
    """The table for RESULTS.md: means over the seeds, and their difference.

    Args:
        results: by set and side, the rows.
    """
    lines = [
        *finetune_runs.about(
            row
            for sides in results.values()
            for rows in sides.values()
            for row in rows
        ),
        "| set | score | runs | kbert | pytorch | difference "
        "| two standard errors | s an epoch | pytorch's | ratio |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, sides in results.items():
        own, their = (finetune_runs.epoch_seconds(sides[x]) for x in _SIDES)
        times = f"{own:.0f} | {their:.0f} | {own / their:.2f}"
        for score in SETS[name][2]:
            (a, a_error), (b, b_error) = (
                finetune_runs.mean_and_error(
                    [row["scores"][score] for row in sides[side]]
                )
                for side in _SIDES
            )
            error = 2 * math.hypot(a_error, b_error)
            lines.append(
                f"| {name} | {score} | {len(sides['kbert'])} | {a:.4f} "
                f"| {b:.4f} | {a - b:+.4f} | {error:.4f} | {times} |"
            )
    return "\n".join(lines)


def _steps_report(folder: pathlib.Path, args: argparse.Namespace) -> str:
    path = folder / "steps.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = path.read_text("utf-8").splitlines() if path.exists() else []
    rows = {row["data"]: row for row in map(json.loads, kept)}
    for name in args.sets:
        run = make_run(name, args.data_dir, folder, 0)
        key = {"data": name, "batch_size": run.batch_size}
        if not key.items() <= rows.get(name, {}).items():
            print(f"{name}: 100 steps of both sides ...", file=sys.stderr)
            rows[name] = {
                **key,
                **same_steps.compare(run),
                "processor": processor(),
            }
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[name]) + "\n")
    lines = [
        *finetune_runs.about(rows[name] for name in args.sets),
        "| set | head | largest difference of logits after 1 step "
        "| of equal dev predictions after 100 | predictions |",
        "|---|---|---:|---:|---:|",
    ]
    for row in (rows[name] for name in args.sets):
        lines.append(
            f"| {row['data']} | {row['head']} | {row['difference']:.1e} "
            f"| {row['agree']:.2%} | {row['predictions']:,} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
