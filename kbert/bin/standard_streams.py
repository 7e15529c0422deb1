# SPDX-License-Identifier: Apache-2.0
"""Makes stdout and stderr UTF-8, and handles closed pipes."""

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator

CLOSED_PIPE = 141  # as a shell reports a process that SIGPIPE ended


@contextlib.contextmanager
def utf8_until_closed() -> Iterator[None]:
    """Writes UTF-8 whatever the locale, and exits when a pipe is closed.

    When a reader such as `head -1` closes its end of a pipe, the process exits
    with CLOSED_PIPE, without a message.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None if it is closed
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        try:
            yield
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError as error:
        if not is_closed_pipe(error):
            raise
        for descriptor in _without_reader():
            # Python flushes its buffers on exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        sys.exit(CLOSED_PIPE)


def is_closed_pipe(error: BaseException) -> bool:
    """Returns whether an error was caused by a closed standard stream."""
    found = isinstance(error.__cause__ or error, BrokenPipeError)
    return found and bool(_without_reader())


def _without_reader() -> list[int]:
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    gone = select.POLLERR | select.POLLHUP
    return [fd for fd, events in poll.poll(0) if events & gone]
