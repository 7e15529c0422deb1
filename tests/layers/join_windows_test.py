# SPDX-License-Identifier: Apache-2.0
"""The windows of texts, joined by hand."""

import numpy as np
import pytest

from kbert.layers import JoinWindows

# Two texts of three windows: the second has two, filled up with [CLS].
MASK = np.array(
    [
        [[1, 1, 1], [1, 1, 1], [1, 1, 0]],
        [[1, 1, 0], [1, 1, 1], [1, 0, 0]],
    ],
    "int32",
)
VECTORS = np.array(
    [[1.0, -6], [2, -2], [6, -1], [4, -3], [8, -5], [90, 90]], "float32"
)


@pytest.mark.parametrize(
    ("how", "joined"),
    [("mean", [[3, -3], [6, -4]]), ("max", [[6, -1], [8, -3]])],
)
def test_by_hand(how, joined):
    np.testing.assert_allclose(JoinWindows(how)(VECTORS, MASK), joined)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_the_first_window_always_counts(how):
    """Also one of a single token, as clients of token ids may send."""
    found = JoinWindows(how)(VECTORS[:2], MASK[1:, 1:] * 0 + [1, 0, 0])
    np.testing.assert_allclose(found, VECTORS[:1])


def test_what_it_does_not_take():
    with pytest.raises(ValueError, match="how is 'sum'; needs 'mean' or 'max'"):
        JoinWindows("sum")
    with pytest.raises(ValueError, match=r"padding mask \(B, N, S\)"):
        JoinWindows()(VECTORS, MASK[0])
