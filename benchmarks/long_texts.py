# SPDX-License-Identifier: Apache-2.0
r"""Movie reviews whose label stands in their last third: truncated, in windows.

    python -m benchmarks.long_texts --data_dir=DIR --init=FOLDER \
        --output_dir=OUT

A sentence that names a decade is put at random between two sentences of the
last third of a review, beyond its 512th word; the label is the decade. A model
that reads 256 tokens cannot see it, one that reads windows of 256 can.
"""

import csv
import json
import pathlib
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

_DATA = flags.DEFINE_string("data_dir", None, "Data sets.", required=True)
_INIT = flags.DEFINE_string("init", None, "The model.", required=True)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Runs.", required=True)
_ROWS = flags.DEFINE_integer("rows", 600, "Reviews, a quarter of them to test.")
_EPOCHS = flags.DEFINE_integer("epochs", 3, "Of each training.")
_ONLY = flags.DEFINE_list("only", [], "Names; by default all.")

_DECADES = ("sixties", "nineties")
_WAYS = {
    "truncate": [],
    "windows_mean": ["--long_texts=windows"],
    "windows_max": ["--long_texts=windows", "--window_join=max"],
}


def main(argv):
    """Prints the accuracy and the time of each way."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    out = pathlib.Path(_OUTPUT_DIR.value)
    out.mkdir(parents=True, exist_ok=True)
    rows = _rows()
    quarter = len(rows) // 4
    for name, part in (("dev", rows[:quarter]), ("train", rows[quarter:])):
        with open(out / f"{name}.csv", "w", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *part])
    for name, options in _WAYS.items():
        if _ONLY.value and name not in _ONLY.value:
            continue
        run = out / name
        start = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-m", "kbert.bin.finetune"),
                *(f"--init={_INIT.value}", f"--output_dir={run}"),
                *(f"--train={out}/train.csv", f"--dev={out}/dev.csv"),
                *("--text_columns=text", "--max_seq_length=256"),
                *("--batch_size=8", "--learning_rate=1e-4", "--seed=1"),
                f"--epochs={_EPOCHS.value}",
                *options,
            ],
            check=True,
        )
        seconds = time.perf_counter() - start
        scores = json.loads((run / "evaluation.json").read_text("utf-8"))
        print(f"{name}: {json.dumps(scores)}, {seconds:.0f} s", flush=True)


def _rows() -> list[tuple[str, str]]:
    """Reviews, each with a sentence and its label, in any order."""
    path = pathlib.Path(_DATA.value) / "pretrain" / "movie_reviews_cv0-8.txt"
    draw = np.random.default_rng(1)
    reviews = path.read_text("utf-8").strip().split("\n\n")
    rows = []
    for number in draw.permutation(len(reviews)).tolist():
        lines = reviews[number].split("\n")
        words = np.cumsum([len(line.split()) for line in lines])
        after = max(512, 2 * words[-1] // 3)
        gaps = 1 + np.flatnonzero(words >= after)
        if len(gaps) < 2 or len(rows) == _ROWS.value:
            continue
        decade = _DECADES[len(rows) % 2]
        sentence = f"this film was made in the {decade} ."
        lines.insert(draw.choice(gaps), sentence)
        rows.append((" ".join(lines), decade))
    return rows


if __name__ == "__main__":
    app.run(main)
