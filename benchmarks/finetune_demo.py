# SPDX-License-Identifier: Apache-2.0
"""Compares the demo's fine-tuning with PyTorch's, on the same sentences.

A 6 x 384 encoder with real weights learns the sentiment of movie sentences:

    pytorch          transformers' model, random batches padded to their
                     longest, which is the usual way
    pytorch_buckets  the same model on kbert's own length-bucketed batches
    kbert            what kbert-finetune does

All train on the processor with batches of 32, AdamW (rate 1e-4, epsilon 1e-6,
decay 0.01 but for biases and norms), 10 % linear warm-up, then linear decay,
clipping at 1.0, dropout 0.1. One process runs at a time: all sides of a seed,
then those of the next. Finished runs are kept in OUTPUT_DIR/rows.jsonl, from
which an interrupted benchmark is resumed:

    python -m benchmarks.finetune_demo --output_dir=out/finetune_demo
"""

import argparse
import math
import pathlib

from benchmarks import finetune_runs
from benchmarks.finetune_runs import Row
from benchmarks.finetune_sides import Data, Run
from examples import movie_sentences

SIDES = ("pytorch", "pytorch_buckets", "kbert")


def main() -> None:
    """Runs what is missing and prints the comparison."""
    args = _parse_args()
    finetune_runs.hide_gpus()
    folder = pathlib.Path(args.output_dir)
    train, dev = movie_sentences.prepare(str(folder / "data"))
    data = Data(
        task="classification",
        train=str(train),
        dev=str(dev),
        options={"text_columns": ["sentence"], "label_column": "label"}
        | {"max_seq_length": 128},
    )
    rows = finetune_runs.Rows(folder)
    results: dict[str, list[Row]] = {side: [] for side in args.sides}
    for seed in range(args.seeds):
        for side in args.sides:
            run = Run(
                model=finetune_runs.model_folder(),
                data=data,
                epochs=args.epochs,
                learning_rate=1e-4,
                batch_size=32,
                seed=seed,
            )
            results[side].append(rows.get("movie sentences", side, run))
    print(format_report(results))


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--output_dir", default="out/finetune_demo")
    parser.add_argument(
        "--sides", type=finetune_runs.among(SIDES), default=",".join(SIDES)
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--epochs", type=int, default=1)
    return parser.parse_args()


def format_report(results: dict[str, list[Row]]) -> str:
    """The block for RESULTS.md.

    Example: accuracies 0.8 and 0.9 have mean 0.85 and standard error 0.05.
    """
    lines = [
        *finetune_runs.about(row for rows in results.values() for row in rows),
        "| side | runs | accuracy | standard error | s an epoch "
        "| kbert's epoch / this |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    seconds = {
        side: finetune_runs.epoch_seconds(rows)
        for side, rows in results.items()
    }
    accuracy = {
        side: finetune_runs.mean_and_error(
            [row["scores"]["accuracy"] for row in rows]
        )
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
