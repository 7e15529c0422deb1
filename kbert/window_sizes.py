# SPDX-License-Identifier: Apache-2.0
"""How much of a long text a model reads."""

from typing import NamedTuple


class WindowSizes(NamedTuple):
    """The overlapping windows in which a text is read.

    Attributes:
        seq_length: most tokens of a window, [CLS] and [SEP] counted.
        stride: tokens from the start of one window to the start of the next.
        count: most windows of a text.
    """

    seq_length: int
    stride: int
    count: int

    @property
    def most_tokens(self) -> int:
        """The tokens of a text that fill all windows."""
        room = self.seq_length - 2  # [CLS] and [SEP]
        return room + (self.count - 1) * min(self.stride, room)
