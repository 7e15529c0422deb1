# SPDX-License-Identifier: Apache-2.0
"""Runs tasks in an Apache Beam pipeline, on one or more machines.

Each machine needs kbert, and the folders of the text and the records under the
same paths: a shared file system. Beam may run a task twice, even at the same
time; results are written atomically and are always the same.

A pipeline works only while its token, a file next to the results, exists. So
the first error stops it, and so does removing the folder. The pipeline of a
killed caller continues until a new one starts in the same folder.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import threading
import traceback
import uuid
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import create_runner

from kbert import atomic_files, json_files
from kbert.data.workers import Report, Task, use_one_core

_QUIET = "--default_sdk_harness_log_level=ERROR"  # the user's flags override it
_ATTEMPTS = 3
_POLL_SECONDS = 2


class BeamWorkers:
    """Like `Workers`, but runs tasks in a Beam pipeline.

    Args:
        runner: the name of Beam's runner, such as FlinkRunner.
        flags: Beam's flags; `["--help"]` prints them and exits.
    Raises: ValueError for a runner that does not exist, or with DirectRunner
        for a flag that Beam does not know. Other runners may have their own
        flags.
    """

    def __init__(self, runner: str, flags: Sequence[str]):
        # Beam silently drops unknown flags otherwise.
        PipelineOptions([]).get_all_options(
            add_extra_args_fn=functools.partial(_check, runner, flags)
        )
        self._options = PipelineOptions([_QUIET, *flags, f"--runner={runner}"])
        try:
            create_runner(runner)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"--runner={runner}: {error}") from error

    def __enter__(self) -> "BeamWorkers":
        """Returns itself; nothing is started yet."""
        return self

    def __exit__(self, *_) -> None:
        """Does nothing: no process runs between runs."""

    def run(self, tasks: Sequence[Task], report: Report) -> None:
        """Runs tasks in any order.

        Args:
            tasks: the tasks, without results yet, whose results belong to one
                folder.
            report: called with the amount done since the last call.
        Raises: the ValueError or OSError of a task; OSError if Beam failed or
            ended too early; RuntimeError with the traceback of a bug.
        """
        remaining = tasks
        failure = None
        # Tasks never raise inside the pipeline: Beam would retry hopeless
        # ones, and DirectRunner's threads would hang. An OSError may be
        # temporary, so the remaining tasks are retried here, on any machine.
        for _ in range(_ATTEMPTS):
            if not remaining:
                return
            state, failure = self._run_once(remaining, report)
            remaining = [task for task in remaining if not task.result.exists()]
            if failure and not isinstance(failure, OSError):
                raise failure
        if remaining:
            raise failure or OSError(
                f"{remaining[0].result}: missing after Beam's pipeline "
                f"({state}); needs a file system that its workers share"
            )

    def _run_once(self, tasks, report):
        """Runs one pipeline; returns its last state and its error or None."""
        folder = tasks[0].result.parent
        do = _Do(folder / f"pipeline-{uuid.uuid4().hex}")
        for old in folder.glob("pipeline-*"):
            old.unlink(missing_ok=True)
        do.token.touch()
        failure = None
        try:
            pipeline = beam.Pipeline(options=self._options)
            _ = pipeline | beam.Create(tasks) | "Do" >> beam.Map(do)
            with _reported(folder, tasks, report):
                state = pipeline.run().wait_until_finish()
        except Exception as error:  # from Beam's settings, server or job
            state = "FAILED"
            failure = OSError(f"Beam: {str(error).partition(chr(10))[0]}")
        finally:
            do.token.unlink(missing_ok=True)
        os.listdir(folder)  # refreshes a network file system
        if do.note.exists():
            failure = _read_failure(do.note)
        return state, failure


def _check(runner, flags, parser):
    """Refuses flags that Beam's parser, with all options, does not accept."""

    def error(message):
        raise ValueError(f"Beam's flags: {message}.")

    parser.error = error  # the original prints pages and exits
    known, unknown = parser.parse_known_args(flags)
    if unknown and runner == "DirectRunner":  # others may have their own flags
        error(f"{unknown} unknown to Beam")
    if known.runner:
        error("--runner is after the --; needs to be before it")


@contextlib.contextmanager
def _reported(folder, tasks, report):
    """Reports results as they appear."""
    amounts = {task.result.name: task.amount for task in tasks}
    ended = threading.Event()

    def poll():
        while not ended.wait(_POLL_SECONDS):
            for name in amounts.keys() & set(os.listdir(folder)):
                report(amounts.pop(name))

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclasses.dataclass(frozen=True)
class _Do:
    """Runs a task on a worker while the pipeline's token exists."""

    token: pathlib.Path

    @property
    def note(self):
        """The file for an error."""
        return self.token.with_name(f"error-of-{self.token.name}")

    def __call__(self, task):
        if task.result.exists() or not self.token.exists():
            return
        _use_one_core()
        try:
            task(self._check_token)
        except _Stopped:
            pass
        except Exception as error:
            _write_failure(self.note, error)
            self.token.unlink(missing_ok=True)

    def _check_token(self, _):
        if not self.token.exists():
            raise _Stopped


class _Stopped(Exception):
    """The pipeline's token was removed."""


@functools.cache  # once per process
def _use_one_core():
    with contextlib.suppress(RuntimeError):  # TensorFlow runs already
        use_one_core()


def _write_failure(note, error):
    kinds = [kind for kind in (ValueError, OSError) if isinstance(error, kind)]
    text = str(error) if kinds else traceback.format_exc()
    kind = kinds[0].__name__ if kinds else "RuntimeError"
    atomic_files.write_text(note, json.dumps([kind, text]))


def _read_failure(note):
    kind, text = json_files.read(note, list[str])
    kinds = {"ValueError": ValueError, "OSError": OSError}
    return kinds.get(kind, RuntimeError)(text)
