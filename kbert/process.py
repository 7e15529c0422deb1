# SPDX-License-Identifier: Apache-2.0
"""Process settings that make TensorFlow faster on a CPU.

The commands apply them; a script can call them at its start. They change
results only by rounding.
"""

import ctypes
import os
import signal

# mallopt's parameters and the largest int: malloc.h of the GNU C library.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1
_PR_SET_PDEATHSIG = 1  # Linux, sys/prctl.h


def use_onednn() -> None:
    """Makes TensorFlow use oneDNN on every x86 CPU.

    Call it before TensorFlow is imported. By default TensorFlow uses oneDNN
    only on CPUs with instructions for neural networks. The environment
    variable TF_ENABLE_ONEDNN_OPTS takes precedence.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def keep_freed_memory() -> None:
    """Makes the C library keep large blocks of memory for the next step.

    By default it returns each to the kernel, which clears its pages when the
    next step asks for them again: a quarter of a step's time where logits over
    the whole vocabulary are computed. The process then keeps its peak size.
    Does nothing with a C library other than GNU's.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST)


def end_with_parent(number: signal.Signals, parent: int) -> None:
    """Makes Linux send a signal to this process when its parent ends.

    This works even if the parent is killed. Does nothing on other systems.
    This process exits at once if the parent has ended already.

    Args:
        number: the signal.
        parent: the parent's process id.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(128 + number)
