# SPDX-License-Identifier: Apache-2.0
"""Tells on stderr how far a long step is, with an estimate of what is left."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

_T = TypeVar("_T")


class Progress:
    """Call it often with a step's name, what is done and how much there is.

    On a terminal one line is written over and over and goes away at the end
    of the step; elsewhere, such as in a log file, there are new lines, but
    few. Nothing is shown of a step that ends before its first line is due.
    """

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._on_terminal = self._stream.isatty()
        self._seconds_between = 0.5 if self._on_terminal else 10.0
        self._step = None
        self._first = (0.0, 0)  # when the step was first heard of, and done
        self._shown = time.monotonic()

    def __call__(self, step: str, done: int, total: int) -> None:
        """Shows a line if the last one is old enough."""
        now = time.monotonic()
        if step != self._step:  # what came before, such as imports, is no step
            self._step, self._first = step, (now, done)
        began, first = self._first
        if done == total:
            self._shown = now
            if self._on_terminal:
                print("\r\x1b[K", end="", file=self._stream, flush=True)
        elif done > first and now - self._shown > self._seconds_between:
            self._shown = now
            left = (now - began) * (total - done) / (done - first)
            text = f"{step}: {done / total:.0%}, {clock(left)} left"
            start, end = ("\r\x1b[K", "") if self._on_terminal else ("", "\n")
            print(start + text, end=end, file=self._stream, flush=True)


def shown(step: str, items: Iterable[_T], total: int) -> Iterator[_T]:
    """The items, of which there are `total`, with the progress through them."""
    progress = Progress()
    for done, item in enumerate(items):
        progress(step, done, total)
        yield item
    progress(step, total, total)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
