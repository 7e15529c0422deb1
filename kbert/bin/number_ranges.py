# SPDX-License-Identifier: Apache-2.0
"""Checks the ranges of numeric flags, for all commands."""

from absl import flags

from kbert.json_files import Range
from kbert.limits import RANGES

# For a flag without a range: finite and less than 64 bits.
_ANY = Range(at_least=1 - 2**63, at_most=2**63 - 1)


def check() -> None:
    """Checks that all numeric flags are in their ranges.

    Raises: ValueError, naming the flag.
    """
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        if type(value) not in (int, float):
            continue
        limits = RANGES.get(name, _ANY)
        if value not in limits:
            # Print "a finite number" and not the range of 64-bit integers.
            needed = "a finite number" if limits is _ANY else limits
            raise ValueError(f"--{name}={value}: needs {needed}.")
