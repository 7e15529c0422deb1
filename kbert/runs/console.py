# SPDX-License-Identifier: Apache-2.0
"""Prints the progress and the scores of a training run."""

import sys
import time
from collections.abc import Mapping

from kbert.runs.progress import Progress
from kbert.training import throughput
from kbert.training.callbacks import Callback

# Values of a log that say nothing of how good the model is.
_NOT_SHOWN = {*throughput.MEASURES, "learning_rate", "gradient_norm"}


class Console(Callback):
    """Prints progress, logs, validation scores and messages of a run.

    Args:
        steps: of the whole run.
    """

    def __init__(self, steps: int):
        self._steps = steps
        self._progress = Progress()
        self._last_log: tuple[int, float] | None = None  # step, time

    def on_message(self, line):
        print_message(line)

    def on_step_end(self, step):
        self._progress("training", step, self._steps)

    def on_log(self, step, values):
        now = time.monotonic()
        shown = {k: v for k, v in values.items() if k not in _NOT_SHOWN}
        line = f"step {step:,}/{self._steps:,}  {describe(shown)}"
        if self._last_log:  # the first steps also compile
            last_step, last_time = self._last_log
            rate = (step - last_step) / (now - last_time)
            left = round((self._steps - step) / rate)
            line += f"  {rate:.1f} steps/s"
            if "tokens_per_second" in values:
                line += f", {values['tokens_per_second']:,.0f} tokens/s"
            if "flop_utilization" in values:
                line += f", {values['flop_utilization']:.0%} of the peak"
            line += f", {left // 60}:{left % 60:02} left"
        self._last_log = (step, now)
        print(line, flush=True)

    def on_validation(self, step, scores, seconds):
        line = f"validation: {describe(scores)}"
        print(f"step {step:,}/{self._steps:,}  {line}", flush=True)
        if self._last_log:  # scoring is not training time
            last_step, last_time = self._last_log
            self._last_log = (last_step, last_time + seconds)


def print_message(line: str) -> None:
    """Prints a line to stderr."""
    print(line, file=sys.stderr, flush=True)


def describe(values: Mapping[str, float]) -> str:
    """{"mlm_loss": 6.2, "nsp_loss": 0.7} as "mlm loss 6.2000, nsp ..."."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in values.items()
    )
