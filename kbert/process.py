# SPDX-License-Identifier: Apache-2.0
"""Settings of a process with which TensorFlow is faster on a processor.

The commands make them; a script of one's own may, at its start. Neither
changes what is computed, but for rounding.
"""

import ctypes
import os
import signal

# mallopt's parameters and the largest int: malloc.h of the GNU C library.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1
_PR_SET_PDEATHSIG = 1  # Linux, sys/prctl.h


def use_onednn() -> None:
    """Has TensorFlow compute with oneDNN on every x86 processor.

    Call it before TensorFlow is imported. Left to itself TensorFlow does so
    on processors with instructions for neural networks only. Who sets
    TF_ENABLE_ONEDNN_OPTS is obeyed.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def keep_freed_memory() -> None:
    """Has the C library keep large blocks of memory for the next step.

    By default it gives each back to the kernel, which clears it, page by
    page, when the next step asks again: a quarter of a step's time where the
    logits of a whole vocabulary are made. The process then stays as large as
    it once was. Another C library than GNU's is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)


def end_with_parent(number: signal.Signals, parent: int) -> None:
    """Has Linux send a signal to this process when its parent ends.

    However that ends: a parent that is killed can end no one itself. Another
    system than Linux is left as it is.

    Args:
        number: the signal; this process exits if the parent has ended already.
        parent: its process id.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(128 + number)
