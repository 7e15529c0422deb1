# SPDX-License-Identifier: Apache-2.0
"""A process that takes training steps when asked, and sleeps otherwise.

Several sides can so be alive at once while only one computes. Parent and
child speak in lines of JSON: first a description of the work, answered by
what the side is; then numbers of steps, answered by their times and the most
memory that the child had until then.
"""

import dataclasses
import importlib
import importlib.metadata
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

from benchmarks.pretrain_batches import Work, make_batches
from kbert import process

_BATCHES = 8  # different ones, used again and again
_SEED = 1
_WARM_UP_STEPS = 4


@dataclasses.dataclass(frozen=True)
class Side:
    """How one competitor runs.

    Attributes:
        module: its module in `benchmarks.peers`.
        packages: those whose versions count.
        dtype: Keras's dtype policy.
        xla: whether XLA compiles the step, as `model.fit` does by default.
        tuned: whether the process has the settings of `kbert.process`, as
            kbert's commands have.
    """

    module: str
    packages: tuple[str, ...]
    dtype: str = "float32"
    xla: bool = False
    tuned: bool = False


class SideProcess:
    """The parent's end of one side.

    Attributes:
        about: what the side is, and `peak_mb`, 2**20 bytes at most so far.
    """

    def __init__(self, side: Side, work: Work):
        hidden = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.side_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **hidden, "KERAS_BACKEND": "tensorflow"},
        )
        task = {"side": dataclasses.asdict(side)}
        self.about = self._ask({**task, "work": dataclasses.asdict(work)})

    def run(self, steps: int) -> list[float]:
        """Milliseconds of each of this many steps."""
        times, self.about["peak_mb"] = self._ask(steps)
        return times

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    def _ask(self, question: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise OSError(f"A side ended with {self._process.wait()}.")
        return json.loads(answer)


def _serve() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries may print

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    task = json.loads(sys.stdin.readline())
    side, work = Side(**task["side"]), Work(**task["work"])
    if side.tuned:
        process.use_onednn()
        process.keep_freed_memory()
    module = importlib.import_module(f"benchmarks.peers.{side.module}")
    batches = make_batches(work, count=_BATCHES, seed=_SEED)
    steps = module.make_steps(work, batches, dtype=side.dtype, xla=side.xla)
    about = {"parameters": steps.parameters, "loss": steps.loss(steps.run(0))}
    for i in range(_WARM_UP_STEPS):
        steps.run(i)
    versions = {p: importlib.metadata.version(p) for p in side.packages}
    answer({**about, "versions": versions})
    done = 0
    for line in sys.stdin:
        times = []
        for _ in range(json.loads(line)):
            start = time.perf_counter()
            steps.run(done % _BATCHES)
            times.append(1e3 * (time.perf_counter() - start))
            done += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        answer((times, peak))


if __name__ == "__main__":
    _serve()
