# SPDX-License-Identifier: Apache-2.0
"""Settings of a process with which TensorFlow is faster on a processor.

The commands make them; a script of one's own may, at its start. Neither
changes what is computed, but for rounding.
"""

import ctypes
import os

# mallopt's parameters and the largest int: malloc.h of the GNU C library.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1


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
