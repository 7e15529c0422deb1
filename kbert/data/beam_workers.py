# SPDX-License-Identifier: Apache-2.0
"""Tasks done by an Apache Beam pipeline, on as many machines as it has.

Each of them needs kbert, and the folders of the text and of the records under
the same paths: a shared file system. Beam may do a task twice, also at the
same time: a result appears once, whole, and is the same.

A pipeline works as long as its token, a file beside the results, is there. So
the first error stops it, and so does who removes the folder. The pipeline of a
caller that was killed goes on until a new one begins there.
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

_QUIET = "--default_sdk_harness_log_level=ERROR"  # unless the flags say more
_ATTEMPTS = 3
_SECONDS_BETWEEN_LOOKS = 2


class BeamWorkers:
    """Like `Workers`, but a run is a pipeline.

    Args:
        runner: Beam's name of what runs it, such as FlinkRunner.
        flags: Beam's own; `["--help"]` prints them and exits.
    Raises: ValueError, of one line, at a flag that Beam does not know, or a
        runner that is not there. Of runners other than DirectRunner the
        flags that Beam does not know are left to them.
    """

    def __init__(self, runner: str, flags: Sequence[str]):
        # Only so does it not drop what it does not know.
        PipelineOptions([]).get_all_options(
            add_extra_args_fn=functools.partial(_check, runner, flags)
        )
        self._options = PipelineOptions([_QUIET, *flags, f"--runner={runner}"])
        try:
            create_runner(runner)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"--runner={runner}: {error}") from error

    def __enter__(self) -> "BeamWorkers":
        """Starts nothing yet."""
        return self

    def __exit__(self, *_) -> None:
        """Nothing runs between runs."""

    def run(self, tasks: Sequence[Task], report: Report) -> None:
        """Does the tasks, in any order.

        Args:
            tasks: whose results are not there yet; they are to be in a folder.
            report: called with amounts that were done since the last time.
        Raises: ValueError or OSError of a task; OSError if Beam failed, or
            ended before all was done; RuntimeError with a bug's traceback.
        """
        left = tasks
        failure = None
        # The pipeline never sees an error, as it would try again what is
        # hopeless, or never, and DirectRunner's threads would hang. An OSError
        # may pass; so what is left is tried again here, by any machine.
        for _ in range(_ATTEMPTS):
            if not left:
                return
            state, failure = self._run_once(left, report)
            left = [task for task in left if not task.result.exists()]
            if failure and not isinstance(failure, OSError):
                raise failure
        if left:
            raise failure or OSError(
                f"{left[0].result}: not there after Beam's pipeline "
                f"({state}); wanted a file system that its workers share"
            )

    def _run_once(self, tasks, report):
        """One pipeline's last state, and an error of its tasks or None."""
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
        except Exception as error:  # of Beam's settings, server or job
            state = "FAILED"
            failure = OSError(f"Beam: {str(error).partition(chr(10))[0]}")
        finally:
            do.token.unlink(missing_ok=True)
        os.listdir(folder)  # lets a network file system look anew
        if do.note.exists():
            failure = _read_failure(do.note)
        return state, failure


def _check(runner, flags, parser):
    """Refuses what Beam's parser, with all options, does not take."""

    def error(message):
        raise ValueError(f"Beam's flags: {message}.")

    parser.error = error  # which would print pages and exit
    known, unknown = parser.parse_known_args(flags)
    if unknown and runner == "DirectRunner":  # others may have their own
        error(f"{unknown} unknown to Beam")
    if known.runner:
        error("--runner stands among them; wanted it before the --")


@contextlib.contextmanager
def _reported(folder, tasks, report):
    """Reports the results that appear."""
    amounts = {task.result.name: task.amount for task in tasks}
    ended = threading.Event()

    def look():
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            for name in amounts.keys() & set(os.listdir(folder)):
                report(amounts.pop(name))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclasses.dataclass(frozen=True)
class _Do:
    """Does a task on a worker, as long as the pipeline's token is there."""

    token: pathlib.Path

    @property
    def note(self):
        """What an error is written to."""
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
    """The token has gone."""


@functools.cache  # once in a process
def _use_one_core():
    with contextlib.suppress(RuntimeError):  # the caller's own, computing
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
