# SPDX-License-Identifier: Apache-2.0
"""Runs tasks that use TensorFlow in several processes."""

import collections
import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import pathlib
import signal
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from kbert import process

Report = Callable[[int], object]


class Task(Protocol):
    """A picklable task that writes a file or a folder; `str` is its name.

    A task is called with a function that it calls from time to time with the
    part of `amount` done since the last call.
    """

    @property
    def result(self) -> pathlib.Path:
        """The path that exists when the task is done."""
        ...

    @property
    def amount(self) -> int:
        """The amount of work, in a unit that all tasks of a run share."""
        ...

    def __call__(self, report: Report) -> None:
        """Does the work.

        Raises: ValueError for bad input; OSError.
        """


class WorkerDied(OSError):
    """A process ended before its task was done."""


class Workers:
    """A pool of worker processes; a pool of one uses the caller's process.

    Processes are started when first needed, compute on one core each, and end
    with the `with` block. More than one process requires that the caller's
    `__main__` is safe to import.

    Args:
        count: the number of processes.
    Raises: ValueError if it is below 1.
    """

    def __init__(self, count: int):
        if count < 1:
            raise ValueError(f"num_workers is {count}; needs at least 1.")
        self._count = count
        self._processes: dict[Any, Any] = {}  # by our end of the pipe

    def __enter__(self) -> "Workers":
        """Returns itself; no process is started yet."""
        return self

    def __exit__(self, *_) -> None:
        """Terminates the processes."""
        for worker in self._processes.values():
            worker.terminate()
        for worker in self._processes.values():
            worker.join()

    def run(self, tasks: Sequence[Task], report: Report) -> None:
        """Runs tasks in any order.

        Args:
            tasks: the tasks, without results yet.
            report: called with the amount done since the last call.
        Raises: WorkerDied, naming the task; the ValueError or OSError of a
            task.
        """
        if self._count == 1:
            for task in tasks:
                task(report)
            return
        waiting = collections.deque(tasks)
        idle, busy = list(self._processes), {}
        while waiting or busy:
            while waiting and (idle or len(self._processes) < self._count):
                connection = idle.pop() if idle else self._start()
                busy[connection] = waiting.popleft()
                with contextlib.suppress(BrokenPipeError):  # recv will report
                    connection.send(busy[connection])
            for connection in multiprocessing.connection.wait(list(busy)):
                amount = self._receive(connection, busy)
                if amount is None:
                    idle.append(connection)
                    del busy[connection]
                else:
                    report(amount)

    def _start(self):
        context = multiprocessing.get_context("spawn")  # TensorFlow can't fork
        ours, theirs = context.Pipe()
        worker = context.Process(target=_serve, args=(theirs,), daemon=True)
        # Ctrl-C reaches all processes; only this one handles it and ends the
        # others. The resource tracker would reset the mask.
        multiprocessing.resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            worker.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()  # so that only the worker has this end
        self._processes[ours] = worker
        return ours

    def _receive(self, connection, busy):
        """Returns the amount done since the last call; None at the end."""
        try:
            value = connection.recv()
        except (EOFError, ConnectionResetError):
            worker = self._processes[connection]
            worker.join()
            raise WorkerDied(
                f"The worker process {worker.pid} ended with exit code "
                f"{worker.exitcode} at {busy[connection]} (-9 may mean that "
                "the system was out of memory)"
            ) from None
        if isinstance(value, Exception):
            raise value
        return value


def use_one_core() -> None:
    """Makes TensorFlow use one core and no GPU in this process.

    Raises: RuntimeError if TensorFlow is already initialized otherwise.
    """
    import tensorflow as tf  # slow, so workers call `end_with_parent` before

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _serve(connection):
    """The main function of a worker process; ends with its caller."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid:
        process.end_with_parent(signal.SIGKILL, parent.pid)
    use_one_core()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            end = None
            try:
                task(connection.send)
            except (ValueError, OSError) as error:
                end = error
            connection.send(end)
