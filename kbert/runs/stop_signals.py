# SPDX-License-Identifier: Apache-2.0
"""How a command ends when it is asked to: SIGTERM, SIGHUP and Ctrl-C."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

# sysexits.h: a temporary failure, to be tried again. 143 would be a run that
# SIGTERM has killed, with what it did since its last checkpoint lost.
EXIT_CODE = os.EX_TEMPFAIL  # 75
INTERRUPTED = 130  # as a shell reports a process that Ctrl-C ended
STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
# Kubernetes and many others kill after 30 seconds.
_PATIENCE = 25.0
# Ctrl-C comes twice where a wrapper such as make passes it on too.
_SAME_SECONDS = 0.2


def exit_to_be_resumed() -> None:
    """From now on SIGTERM and SIGHUP end the process with EXIT_CODE.

    For a command that, started again, resumes from what it wrote.
    A signal that is ignored, as by nohup, stays so.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _exit)


def _exit(number, frame):
    with contextlib.suppress(Exception):  # what it interrupts may print too
        sys.stdout.flush()
    _write(f"{_name(number)}: ended; start it again to resume.")
    os._exit(EXIT_CODE)


def _name(number):
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _write(line):
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(2, f"\n{line}\n".encode())


class Presses:
    """Counts Ctrl-C: whether one comes after another was heard."""

    def __init__(self):
        self._first = None

    def is_second(self) -> bool:
        """To be called at each."""
        now = time.monotonic()
        self._first = now if self._first is None else self._first
        return now - self._first > _SAME_SECONDS


class Heard:
    """Which signal asked the process to stop, if one did: its `name`."""

    def __init__(self):
        self.name = ""
        self._presses = Presses()
        self._timer = threading.Timer(_PATIENCE, self._end_late)
        self._timer.daemon = True

    def __call__(self) -> bool:
        """Whether one did."""
        return bool(self.name)

    def hear(self, number: int) -> None:
        """Takes one; a second Ctrl-C ends the process."""
        is_second = number == signal.SIGINT and self._presses.is_second()
        if is_second:
            _write("Ctrl-C: ended; nothing more is saved.")
            os._exit(INTERRUPTED)
        if not self.name and number == signal.SIGINT:
            _write("Ctrl-C: saves after this step; once more ends at once.")
        self.name = self.name or _name(number)
        if number != signal.SIGINT and self._timer.ident is None:
            self._timer.start()

    def _end_late(self):
        _write(
            f"{self.name}: no end in {_PATIENCE:g} seconds; nothing more is "
            "saved."
        )
        os._exit(EXIT_CODE)

    def end(self) -> None:
        """Nothing is left to wait for."""
        self._timer.cancel()


@contextlib.contextmanager
def remembered() -> Iterator[Heard]:
    """While it lasts, signals to stop are only remembered: gives which.

    A step is one call into TensorFlow, for whose end Python's handlers have
    to wait. Should it not come, for another worker is gone, a thread ends the
    process 25 seconds after SIGTERM or SIGHUP, or at the second Ctrl-C; its
    last checkpoint is there.
    """
    heard = Heard()
    taken = {
        number: handler
        for number in STOP_SIGNALS
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    reader, writer = socket.socketpair()

    def watch():
        with reader:
            while numbers := reader.recv(64):
                for number in filter(taken.__contains__, numbers):
                    heard.hear(number)

    threading.Thread(target=watch, daemon=True).start()
    with writer:
        writer.setblocking(False)
        # Python writes the signal's number there at once, in any thread.
        old_writer = signal.set_wakeup_fd(writer.fileno())
        for number in taken:
            signal.signal(number, lambda *_: None)
        try:
            yield heard
        finally:
            heard.end()
            for number, handler in taken.items():
                signal.signal(number, handler or signal.SIG_DFL)
            signal.set_wakeup_fd(old_writer)
