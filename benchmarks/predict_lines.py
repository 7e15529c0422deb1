# SPDX-License-Identifier: Apache-2.0
"""Measures time and peak memory of kbert-predict on tables of many lines.

A newly initialized 2 x 128 classifier predicts lines of 1 to 12 words. Each
table is written, predicted by a separate process and removed. Times include
the start of the process. The table on standard output is ready for RESULTS.md:

    python -m benchmarks.predict_lines
"""

import argparse
import importlib.metadata
import os
import pathlib
import random
import sys
import tempfile
import time

from benchmarks import finetune_runs
from benchmarks.pretrain_step import processor

_WORDS = tuple(f"w{i:04}" for i in range(5000))
_MOST_WORDS = 12
_BATCH_SIZE = 256


def main() -> None:
    """Answers each table and prints the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[100_000, 1_000_000]
    )
    args = parser.parse_args()
    finetune_runs.hide_gpus()
    versions = {
        name: importlib.metadata.version(name)
        for name in ("tensorflow", "keras")
    }
    about = {"versions": versions, "processor": processor()}
    print("\n".join(finetune_runs.about([about])))
    print("| rows | s | rows a second | peak MB |\n|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_model(folder / "model")
        for count in args.rows:
            seconds, peak = answer(folder, count)
            print(
                f"| {count:,} | {seconds:.1f} | {count / seconds:,.0f} "
                f"| {peak:,.0f} |",
                flush=True,
            )


def make_model(path: pathlib.Path) -> None:
    """A folder with a classifier of two classes."""
    import keras

    from kbert import config, tasks
    from kbert.checkpoints import folder
    from kbert.tasks.classification import head as classification_head
    from kbert.text.vocabulary import SPECIAL_TOKENS, Vocabulary

    keras.utils.set_random_seed(0)
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *_WORDS), True)
    size = config.BertConfig(
        vocab_size=len(vocabulary),
        lower_case=True,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
    )
    spec = tasks.TaskSpec(
        task="classification",
        labels=("no", "yes"),
        max_seq_length=128,
        settings=classification_head.Settings(),
    )
    folder.save(
        path,
        tasks.build(size, spec),
        config=size,
        vocabulary=vocabulary,
        spec=spec,
    )


def answer(folder: pathlib.Path, count: int) -> tuple[float, float]:
    """Seconds, and the most memory in 2**20 bytes, for so many lines.

    Raises: OSError if the command fails or answers fewer rows.
    """
    table, answers = folder / "rows.tsv", folder / "answers.jsonl"
    draw = random.Random(0)
    with table.open("w", encoding="utf-8") as file:
        file.write("text\n")
        for _ in range(count):
            words = draw.choices(_WORDS, k=draw.randint(1, _MOST_WORDS))
            file.write(" ".join(words) + "\n")
    start = time.perf_counter()
    process = os.posix_spawn(
        sys.executable,
        [
            *(sys.executable, "-m", "kbert.bin.predict"),
            *(f"--model={folder}/model", f"--input={table}"),
            *(f"--output_file={answers}", f"--batch_size={_BATCH_SIZE}"),
        ],
        os.environ,
    )
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    if status:
        raise OSError(f"kbert-predict: status {status}.")
    with answers.open("rb") as file:
        found = sum(1 for _ in file)
    if found != count:
        raise OSError(f"kbert-predict: {found:,} answers of {count:,} rows.")
    table.unlink()
    answers.unlink()
    return seconds, usage.ru_maxrss / 2**10


if __name__ == "__main__":
    main()
