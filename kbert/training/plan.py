# SPDX-License-Identifier: Apache-2.0
"""What a run is asked for, and who is told of it."""

import dataclasses
import os
from collections.abc import Callable, Mapping

from kbert.training.throughput import Work


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a run is and what it leaves in its folder.

    Attributes:
        steps: of the whole run, those of earlier processes counted.
        output_dir: folder of the run; it is made when missing.
        log_every: steps between two logs, the last step always among them.
        save_every: steps between two checkpoints, likewise.
        keep_checkpoints: how many to keep, the newest; the best step's is
            kept beside them.
        patience: the run ends, before all steps are done, after so many
            held-out scores without a better one; or None.
    """

    steps: int
    output_dir: str | os.PathLike
    log_every: int
    save_every: int
    keep_checkpoints: int
    patience: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How the model is scored on held-out data while it trains.

    Attributes:
        every: steps between two scores, the last step always among them.
        score: gives losses and metrics of the model as it is.
        metric: the score that tells the best step, the higher the better; or
            "loss", the sum of all losses, the lower the better.
        data: a name of the held-out data. Scores on others tell nothing.
    """

    every: int
    score: Callable[[], Mapping[str, float]]
    metric: str = "loss"
    data: str = ""


def _nothing(*_) -> None:
    """What a watcher does if nobody watches."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watcher:
    """What a run tells while it goes on, and asks.

    Attributes:
        say: takes a line that the user should see.
        begins: takes the steps that are done when more of them begin.
        tick: takes the number of each step when it is done.
        measure: what a log should say of so much work in so many seconds.
        report: takes the step and the values of a log, when they stand in
            history.jsonl.
        scored: takes the step, its held-out scores and the seconds that the
            scoring took.
        should_stop: whether to save and end after this step.
    """

    say: Callable[[str], object] = _nothing
    begins: Callable[[int], object] = _nothing
    tick: Callable[[int], object] = _nothing
    measure: Callable[[Work, float], Mapping[str, float]] = lambda *_: {}
    report: Callable[[int, dict[str, float]], object] = _nothing
    scored: Callable[[int, Mapping[str, float], float], object] = _nothing
    should_stop: Callable[[], bool] = lambda: False
