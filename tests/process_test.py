# SPDX-License-Identifier: Apache-2.0
"""What the settings do, each in a separate process."""

import os
import platform
import subprocess
import sys

import pytest

from kbert import process

_FAULTS = """
import ctypes, resource
from kbert import process
if {keep}:
    process.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def use(size=100_000_000):
    block = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(block, 1, size)
    libc.free(ctypes.c_void_p(block))
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_ONEDNN = """
from kbert import process
process.use_onednn()
from tensorflow.python.util import _pywrap_util_port
print(_pywrap_util_port.IsMklEnabled())
"""


def _run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="mallopt is the GNU C library's"
)
def test_a_large_block_is_not_faulted_in_again():
    pages = 100_000_000 // os.sysconf("SC_PAGE_SIZE")
    # Huge pages make fewer faults of the same work.
    assert int(_run(_FAULTS.format(keep=False))) > 5 * pages / 512
    assert int(_run(_FAULTS.format(keep=True))) < 10


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN is for x86")
@pytest.mark.slow
def test_onednn_is_on_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    assert _run(_ONEDNN).strip() == "True"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    process.use_onednn()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
