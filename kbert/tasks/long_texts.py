# SPDX-License-Identifier: Apache-2.0
"""The settings of tasks that can read texts longer than a row."""

import dataclasses
from typing import Annotated, Literal

from kbert.limits import RANGES
from kbert.options import option
from kbert.window_sizes import WindowSizes

Join = Literal["mean", "max"]

_COUNT = 16  # windows of a text


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongTexts:
    """What becomes of a text that is longer than a row.

    A subclass checks the fields, with `check_long_texts` too.

    Attributes:
        long_texts: "truncate", or "windows": a text is read in overlapping
            windows of a row each, and the head reads what is joined of their
            vectors. A short text is one window, with the values that it has
            without.
        window_join: how the vectors are joined; None for "mean".
        stride: tokens from the start of one window to the start of the next;
            None for half of the longest row.
        max_windows: most windows of a text; what is beyond them is truncated.
            None for 16. The memory of a batch is that of so many rows for
            each of its own.
    """

    long_texts: Literal["truncate", "windows"] = option(
        "truncate a text that is longer than --max_seq_length, as by default; "
        "or windows: read it in overlapping windows, whose vectors are joined.",
        "truncate",
    )
    window_join: Join | None = option(
        "with --long_texts=windows, how vectors are joined: mean, as by "
        "default, or max.",
        None,
    )
    stride: Annotated[int, RANGES["stride"]] | None = option(
        "with --long_texts=windows, tokens from the start of one window to "
        "the start of the next; by default half of --max_seq_length.",
        None,
    )
    max_windows: Annotated[int, RANGES["max_windows"]] | None = option(
        "with --long_texts=windows, most windows of a text, which each take "
        "the memory of a row; by default 16.",
        None,
    )

    @property
    def join(self) -> Join | None:
        """How the vectors of windows are joined; None if there are none."""
        if self.long_texts == "truncate":
            return None
        return self.window_join or "mean"

    def windows(self, seq_length: int) -> WindowSizes | None:
        """The windows of a model whose rows have so many tokens at most."""
        if self.long_texts == "truncate":
            return None
        stride = self.stride or max(1, seq_length // 2)
        return WindowSizes(seq_length, stride, self.max_windows or _COUNT)

    def check_long_texts(self) -> None:
        """Raises: ValueError, naming a field that has no use."""
        if self.long_texts == "windows":
            return
        for name in ("window_join", "stride", "max_windows"):
            if (value := getattr(self, name)) is not None:
                raise ValueError(
                    f"{name} is {value!r}; needs none without "
                    "long_texts=windows."
                )
