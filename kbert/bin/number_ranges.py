# SPDX-License-Identifier: Apache-2.0
"""The numbers that flags may have, whichever command has the flag."""

from absl import flags

from kbert.json_files import Range
from kbert.limits import RANGES

# Of a flag that has no range there: finite and of less than 64 bits.
_ANY = Range(at_least=1 - 2**63, at_most=2**63 - 1)


def check() -> None:
    """Sees that all flags that are numbers lie in their ranges.

    Raises: ValueError, naming the flag.
    """
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        if type(value) not in (int, float):
            continue
        limits = RANGES.get(name, _ANY)
        if value not in limits:
            # The range of any number says no more than that it is finite.
            needed = "a finite number" if limits is _ANY else limits
            raise ValueError(f"--{name}={value}: needs {needed}.")
