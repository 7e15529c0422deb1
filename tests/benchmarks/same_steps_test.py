# SPDX-License-Identifier: Apache-2.0
import numpy as np

from benchmarks import same_steps

LOGITS = np.array([[[0, 1, 2], [5, 1, 2]], [[0, 1, 2], [0, 1, 2]]], float)


def test_tokens_agree_where_they_count():
    other = LOGITS.copy()
    other[0, 1] = 0, 1, 0
    other[1, 1] = 3, 0, 0
    batch = {"weights_logits": np.array([[2.0, 2.0], [2.0, 0.0]])}
    got = same_steps.agree(LOGITS, other, batch, "logits")
    assert got.tolist() == [True, False, True]


def test_spans_agree_when_start_and_end_do():
    other = LOGITS.copy()
    other[1, 0] = 9, 1, 2
    assert same_steps.agree(LOGITS, other, {}, "logits").tolist() == [1, 0]
    masked = LOGITS.copy()
    masked[1, 0, 0] = -1e9  # kbert does not choose it, PyTorch's has a logit
    assert same_steps.agree(masked, other, {}, "logits").all()


def test_numbers_agree_when_they_are_near():
    ours, theirs = np.array([1.0, 2.0]), np.array([1.005, 2.02])
    assert same_steps.agree(ours, theirs, {}, "value").tolist() == [1, 0]
