# SPDX-License-Identifier: Apache-2.0
"""A process that takes training steps on request.

The first request describes the work; the answer describes the side. Later
requests are numbers of steps; the answers are their times and the peak memory
so far.
"""

import dataclasses
import importlib
import importlib.metadata
import resource
import time

from benchmarks.asked_process import AskedProcess, questions
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
        self._process = AskedProcess("-m", "benchmarks.side_process")
        task = {"side": dataclasses.asdict(side)}
        self.about = self._process.ask(
            {**task, "work": dataclasses.asdict(work)}
        )

    def run(self, steps: int) -> list[float]:
        """Milliseconds of each of this many steps."""
        times, self.about["peak_mb"] = self._process.ask(steps)
        return times

    def close(self) -> None:
        """Ends the process."""
        self._process.close()


def _serve() -> None:
    asked, answer = questions()
    task = next(asked)
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
    for steps_asked in asked:
        times = []
        for _ in range(steps_asked):
            start = time.perf_counter()
            steps.run(done % _BATCHES)
            times.append(1e3 * (time.perf_counter() - start))
            done += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        answer((times, peak))


if __name__ == "__main__":
    _serve()
