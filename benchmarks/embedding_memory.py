# SPDX-License-Identifier: Apache-2.0
"""Peak memory of large batches in parts, and of a search of many vectors.

    python -m benchmarks.embedding_memory --model=FOLDER --data=SICK_train.tsv

Each measurement is a process of its own: steps of the loss "ranking" with 32
rows, with 512 in 16 parts, and with 512 at once; and the 100 nearest of a
million vectors of 384 numbers, in a file, for each of 1,000 queries.
"""

import dataclasses
import pathlib
import resource
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

from benchmarks.asked_process import AskedProcess, questions
from benchmarks.embedding_sides import Work

_MODEL = flags.DEFINE_string("model", None, "The folder.", required=True)
_DATA = flags.DEFINE_string("data", None, "SICK's table.", required=True)
_STEPS = 3
_SIZES = {
    "32 rows": {"batch_size": 32},
    "512 rows in 16 parts": {"batch_size": 512, "parts": 16},
    "512 rows": {"batch_size": 512},
}
_VECTORS, _QUERIES, _WIDTH, _NEAREST = 10**6, 1000, 384, 100


def main(argv):
    """Prints a line for each."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    for name, fields in _SIZES.items():
        work = Work(_MODEL.value, _DATA.value, "ranking", **fields)
        found = _ask({"work": dataclasses.asdict(work)})
        print(
            f"{name}: {found['peak_mb']:,.0f} MB, {found['seconds']:.1f} s for "
            f"{_STEPS} steps",
            flush=True,
        )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vectors.npy"
        shape = (_VECTORS, _WIDTH)
        vectors = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.float32, shape=shape
        )
        draw = np.random.default_rng(1)
        for start in range(0, _VECTORS, 10**5):
            part = draw.standard_normal((10**5, _WIDTH), np.float32)
            vectors[start : start + 10**5] = part
        vectors.flush()
        found = _ask({"vectors": str(path)})
    print(
        f"{_VECTORS:,} vectors, {_QUERIES:,} queries: {found['peak_mb']:,.0f} "
        f"MB, {found['seconds']:.1f} s"
    )


def _ask(question) -> dict[str, float]:
    process = AskedProcess("-m", "benchmarks.embedding_memory", "--serve")
    answer = process.ask(question)
    process.close()
    return answer


def _serve() -> None:
    asked, answer = questions()
    question = next(asked)
    run = _steps if "work" in question else _search
    start = time.perf_counter()
    run(**question)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    answer({"seconds": seconds, "peak_mb": peak})


def _steps(work) -> None:
    from benchmarks.embedding_sides import kbert as side

    step = side.make(Work(**work))
    for _ in range(_STEPS):
        step()


def _search(vectors) -> None:
    from kbert.tasks.embedding import search

    corpus = np.load(vectors, mmap_mode="r")
    queries = np.array(corpus[:_QUERIES]) + 0.1
    _, indices = search.nearest(queries, corpus, _NEAREST)
    assert (indices[:, 0] == np.arange(_QUERIES)).all()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _serve()
    else:
        app.run(main)
