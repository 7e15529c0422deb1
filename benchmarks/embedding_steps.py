# SPDX-License-Identifier: Apache-2.0
"""Training steps of vectors beside sentence-transformers': losses and times.

    pip install --no-deps sentence-transformers==6.2.0
    python -m benchmarks.embedding_steps --model=FOLDER --data=SICK_train.tsv

FOLDER is a sentence-transformers model; "reranking" is the cross-entropy of a
CrossEncoder that kbert writes of it, with a new head. Both sides take the same
steps from its weights, without dropout, in turns of a few steps each; the times
count from the second turn on.
"""

import dataclasses
import importlib
import importlib.metadata
import statistics
import sys
import tempfile
import time

from absl import app, flags

from benchmarks.asked_process import AskedProcess, questions
from benchmarks.embedding_sides import Work, cross_encoder

_MODEL = flags.DEFINE_string("model", None, "The folder.", required=True)
_DATA = flags.DEFINE_string("data", None, "SICK's table.", required=True)
_STEPS = flags.DEFINE_integer("steps", 50, "Steps of each side.")
_TURN = flags.DEFINE_integer("turn", 10, "Steps of a turn.")
_ONLY = flags.DEFINE_list("only", [], "Names of losses; by default all.")
_SIDES = ("kbert", "sentence_transformers")

_WORK = {
    "ranking": {"loss": "ranking"},
    "ranking with hard negatives": {"loss": "ranking", "texts": 3},
    "symmetric ranking": {"loss": "ranking", "symmetric": True},
    "ranking in 4 parts": {"loss": "ranking", "parts": 4},
    "cosent": {"loss": "cosent"},
    "cosine": {"loss": "cosine"},
    "triplet": {"loss": "triplet", "texts": 3},
    "margin_mse": {"loss": "margin_mse", "texts": 3},
    "ranking at 3 widths": {"loss": "ranking", "matryoshka": (384, 128, 64)},
    "reranking": {"loss": "reranking"},
}


def main(argv):
    """Prints a line for each loss."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    for name in ("kbert-keras", "tensorflow", "torch", "sentence-transformers"):
        print(name, importlib.metadata.version(name))
    print("loss, largest relative difference, ms a step of both, ratio")
    for name, fields in _WORK.items():
        if _ONLY.value and name not in _ONLY.value:
            continue
        with tempfile.TemporaryDirectory() as folder:
            model = _MODEL.value
            if fields["loss"] == "reranking":
                model = cross_encoder(model, f"{folder}/model")
            work = Work(model, _DATA.value, **fields)
            print(f"{name}: {_compare(work)}", flush=True)


def _compare(work: Work) -> str:
    losses, times = {}, {}
    processes = {}
    for side in _SIDES:
        processes[side] = AskedProcess(
            "-m", "benchmarks.embedding_steps", f"--side={side}"
        )
        processes[side].ask(dataclasses.asdict(work))
        losses[side], times[side] = [], []
    for _ in range(0, _STEPS.value, _TURN.value):
        for side, process in processes.items():
            found = process.ask(_TURN.value)
            losses[side] += found["losses"]
            times[side] += found["ms"]
    for process in processes.values():
        process.close()
    ours, theirs = (losses[side] for side in _SIDES)
    pairs = zip(ours, theirs, strict=True)
    difference = max(abs(a - b) / abs(b) for a, b in pairs)
    ms = [statistics.median(times[side][_TURN.value :]) for side in _SIDES]
    return (
        f"{difference:.1e}, {ms[0]:.0f} and {ms[1]:.0f} ms, {ms[0] / ms[1]:.2f}"
    )


def _serve(side: str) -> None:
    """Answers numbers of steps with their losses and times."""
    asked, answer = questions()
    module = importlib.import_module(f"benchmarks.embedding_sides.{side}")
    step = module.make(Work(**next(asked)))
    answer({})
    for count in asked:
        losses, times = [], []
        for _ in range(count):
            start = time.perf_counter()
            losses.append(step())
            times.append(1000 * (time.perf_counter() - start))
        answer({"losses": losses, "ms": times})


if __name__ == "__main__":
    if sys.argv[1].startswith("--side="):
        _serve(sys.argv[1].removeprefix("--side="))
    else:
        app.run(main)
