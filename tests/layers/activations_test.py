# SPDX-License-Identifier: Apache-2.0
"""The activations by hand."""

import numpy as np
import pytest

from kbert.layers.activations import activation


def test_by_hand():
    # x * Phi(x) at 1 is 0.841345 (exact); the tanh form gives 0.841192.
    one = np.array([1.0], "float32")
    assert float(activation("gelu_erf")(one)[0]) == pytest.approx(0.841345)
    assert float(activation("gelu")(one)[0]) == pytest.approx(0.841192)
    assert float(activation("relu")(-one)[0]) == 0
    with pytest.raises(ValueError, match="'swish'; needs one of"):
        activation("swish")
