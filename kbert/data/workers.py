# SPDX-License-Identifier: Apache-2.0
"""Tasks with TensorFlow in them, done by several processes."""

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
    """Work that leaves a file or a folder; it can be pickled, `str` names it.

    It is called with a function that it tells, now and then, how much of
    `amount` it has done since the last time.
    """

    @property
    def result(self) -> pathlib.Path:
        """Is there when the work is done."""
        ...

    @property
    def amount(self) -> int:
        """How much there is to do, in a unit of all tasks of a run."""
        ...

    def __call__(self, report: Report) -> None:
        """Raises: ValueError at bad input; OSError."""


class WorkerDied(OSError):
    """A process ended before its task did."""


class Workers:
    """Processes that do tasks; if there is but one, it is the caller's own.

    They are started when they are first needed, each computing on one core,
    and end with the `with` block. More than one needs a caller whose
    `__main__` is safe to import.

    Args:
        count: of the processes that work.
    Raises: ValueError if there is none.
    """

    def __init__(self, count: int):
        if count < 1:
            raise ValueError(f"num_workers is {count}; wanted 1 or more.")
        self._count = count
        self._processes: dict[Any, Any] = {}  # by our end of their pipe

    def __enter__(self) -> "Workers":
        """Starts none yet."""
        return self

    def __exit__(self, *_) -> None:
        """Ends them, whatever they do."""
        for worker in self._processes.values():
            worker.terminate()
        for worker in self._processes.values():
            worker.join()

    def run(self, tasks: Sequence[Task], report: Report) -> None:
        """Does the tasks, in any order.

        Args:
            tasks: whose results are not there yet.
            report: called with amounts that were done since the last time.
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
                with contextlib.suppress(BrokenPipeError):  # recv tells more
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
        # Ctrl-C goes to all; this process hears it and ends the others.
        multiprocessing.resource_tracker.ensure_running()  # resets the mask
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            worker.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()  # so that the worker's end is the only one
        self._processes[ours] = worker
        return ours

    def _receive(self, connection, busy):
        """What was done of the task since the last time; None at its end."""
        try:
            value = connection.recv()
        except (EOFError, ConnectionResetError):
            worker = self._processes[connection]
            worker.join()
            raise WorkerDied(
                f"The worker process {worker.pid} ended with exit code "
                f"{worker.exitcode} at {busy[connection]} (-9 may be the "
                "system, short of memory)"
            ) from None
        if isinstance(value, Exception):
            raise value
        return value


def use_one_core() -> None:
    """Lets TensorFlow compute on one core, and on no GPU, in this process.

    Raises: RuntimeError if it has begun to compute otherwise.
    """
    import tensorflow as tf  # takes seconds, after `end_with_parent` in workers

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _serve(connection):
    """What a worker process runs, until its caller has gone."""
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
