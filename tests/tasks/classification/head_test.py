# SPDX-License-Identifier: Apache-2.0
"""Classes: the decoding, the scores against scikit-learn's, the learning."""

import math

import numpy as np
import pytest

from kbert.tasks.classification import head, metrics
from kbert.tasks.classification.settings import Settings

LABELS = ("a", "b", "c")


def test_decoding_by_hand():
    logits = np.log([[1.0, 2.0, 5.0], [0.5, 0.25, 0.25]]).astype("float32")
    probabilities, best = head.decode(logits)
    want = [[0.125, 0.25, 0.625], [0.5, 0.25, 0.25]]
    np.testing.assert_allclose(probabilities, want, rtol=1e-6)
    assert np.array(best).tolist() == [2, 0]


def test_decoding_several_by_hand():
    logits = np.log([[1.0, 3.0, 9.0], [0.1, 0.2, 0.3]]).astype("float32")
    probabilities, has = head.decode_several(logits, 0.75)
    want = [[1 / 2, 3 / 4, 9 / 10], [1 / 11, 1 / 6, 3 / 13]]
    np.testing.assert_allclose(probabilities, want, rtol=1e-6)
    assert np.array(has).tolist() == [[False, True, True], [False] * 3]


def test_scores_of_two_classes_by_hand():
    """Of b: 2 right, 1 wrong and 1 missed; of a: 1 right."""
    got = metrics.scores([*"abbba"], [*"aabbb"], ("a", "b"))
    want = {"accuracy": 3 / 5, "f1": 2 / 3, "matthews": 1 / 6}
    assert got == pytest.approx(want)
    got = metrics.scores(["a"], ["a"], ("a", "b"))
    assert got == {"accuracy": 1, "f1": 0, "matthews": 0}


def test_scores_of_three_classes_by_hand():
    got = metrics.scores([*"abbbca"], [*"aabbcc"], LABELS)
    want = {
        "accuracy": 4 / 6,
        "macro_f1": (1 / 2 + 4 / 5 + 2 / 3) / 3,
        "matthews": (4 * 6 - 12) / math.sqrt((36 - 14) * (36 - 12)),
    }
    assert got == pytest.approx(want)


def test_classes_that_do_not_occur_do_not_count():
    """By hand: F1 of a is 2/3, of b 0, of c to f none."""
    labels = [*"abcdef"]
    got = metrics.scores(["a", "a"], ["a", "a"], labels)
    assert got == {"accuracy": 1, "macro_f1": 1, "matthews": 0}
    got = metrics.scores(["a", "a"], ["a", "b"], labels)
    assert got["macro_f1"] == pytest.approx(1 / 3)


def test_one_answer_to_all_has_no_correlation():
    got = metrics.scores(["a"] * 4, ["a", "a", "a", "b"], ("a", "b"))
    assert got == {"accuracy": 0.75, "f1": 0, "matthews": 0}


def test_scores_of_several_labels_by_hand():
    gold, found = [["a"], ["a", "b"], []], [["a"], ["b"], ["c"]]
    got = metrics.multi_label_scores(found, gold, LABELS)
    want = {"accuracy": 1 / 3, "f1": 2 / 3, "macro_f1": (2 / 3 + 1) / 3}
    assert got == pytest.approx(want)
    report = metrics.class_report(found, gold, LABELS)
    assert {name: [*x.values()] for name, x in report.items()} == {
        "a": pytest.approx([1, 1 / 2, 2 / 3, 2]),
        "b": pytest.approx([1, 1, 1, 1]),
        "c": pytest.approx([0, 0, 0, 0]),
    }
    got = metrics.multi_label_scores([["a"], ["a"]], [["a"], []], ["a"])
    want = {"accuracy": 1 / 2, "f1": 2 / 3, "macro_f1": 2 / 3}
    assert got == pytest.approx(want)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 7, "x"])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(ValueError, match="threshold is .*; needs"):
        Settings(multi_label=True, threshold=threshold)


def test_a_threshold_is_of_several_labels():
    assert Settings(multi_label=True).threshold == 0.5
    with pytest.raises(ValueError, match="needs none without multi_label"):
        Settings(threshold=0.5)
