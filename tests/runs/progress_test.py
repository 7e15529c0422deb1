# SPDX-License-Identifier: Apache-2.0
import io

import pytest

from kbert.runs import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only the test lets pass."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def show(stream, clock, seconds_each):
    shown = progress.Progress(stream)
    for step in ("Reading", "Writing"):
        for done in range(1, 11):
            clock[0] += seconds_each
            shown(step, done, 10)
    return stream.getvalue()


def test_a_log_gets_few_lines_and_the_time_left(clock):
    assert show(io.StringIO(), clock, seconds_each=6).splitlines() == [
        "Reading: 20%, 0:00:48 left",
        "Reading: 40%, 0:00:36 left",
        "Reading: 60%, 0:00:24 left",
        "Reading: 80%, 0:00:12 left",
        "Writing: 20%, 0:00:48 left",
        "Writing: 40%, 0:00:36 left",
        "Writing: 60%, 0:00:24 left",
        "Writing: 80%, 0:00:12 left",
    ]


def test_a_terminal_gets_one_line_that_goes_away(clock):
    shown = show(Terminal(), clock, seconds_each=400)
    assert "\n" not in shown
    steps = shown.split("\r\x1b[K")
    assert steps[1] == "Reading: 20%, 0:53:20 left"
    assert steps[9] == ""  # the end of the first step
    assert steps[-1] == ""


def test_quick_steps_are_silent(clock):
    assert show(io.StringIO(), clock, seconds_each=0.01) == ""


def test_items_come_through_and_their_progress_is_shown(clock, capsys):
    got = []
    for item in progress.shown("Scoring", iter("abcd"), 4):
        got.append(item)
        clock[0] += 60
    assert got == list("abcd")
    assert capsys.readouterr().err.splitlines() == [
        "Scoring: 25%, 0:03:00 left",
        "Scoring: 50%, 0:02:00 left",
        "Scoring: 75%, 0:01:00 left",
    ]
