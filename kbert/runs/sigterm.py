# SPDX-License-Identifier: Apache-2.0
"""How a run ends when it is told to: SIGTERM."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

# sysexits.h: a temporary failure, to be tried again. 143 would be a run that
# SIGTERM has killed, with what it did since its last checkpoint lost.
EXIT_CODE = os.EX_TEMPFAIL  # 75
# Kubernetes and many others kill after 30 seconds.
_PATIENCE = 25.0
_TOO_LATE = b"\nSIGTERM: no end in 25 seconds; nothing more is saved.\n"


@contextlib.contextmanager
def remembered() -> Iterator[Callable[[], bool]]:
    """While it lasts, SIGTERM is only remembered: gives what tells of it.

    A step is one call into TensorFlow, for whose end Python's handlers have
    to wait. Should it not come, for another worker is gone, a thread ends the
    process after 25 seconds; its last checkpoint is there.
    """
    came, ended = threading.Event(), threading.Event()
    reader, writer = socket.socketpair()

    def watch():
        with reader:
            while signals := reader.recv(64):
                if signal.SIGTERM in signals:
                    came.set()
                    if not ended.wait(_PATIENCE):
                        os.write(2, _TOO_LATE)
                        os._exit(EXIT_CODE)

    threading.Thread(target=watch, daemon=True).start()
    with writer:
        writer.setblocking(False)
        # Python writes the signal's number there at once, in any thread.
        old_writer = signal.set_wakeup_fd(writer.fileno())
        old_handler = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            yield came.is_set
        finally:
            ended.set()
            signal.signal(signal.SIGTERM, old_handler)
            signal.set_wakeup_fd(old_writer)
