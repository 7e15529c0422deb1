# SPDX-License-Identifier: Apache-2.0
"""Classes: the decoding, the scores against scikit-learn's, the learning."""

import numpy as np
import pytest

from kbert.tasks.classification import head, metrics
from kbert.tasks.classification.settings import Settings

LABELS = ("a", "b", "c")


def _sklearn():
    return pytest.importorskip("sklearn.metrics")


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


@pytest.mark.parametrize("count", [2, 3])
def test_scores_are_those_of_scikit_learn(count):
    sk, labels = _sklearn(), LABELS[:count]
    rng = np.random.default_rng(count)
    name, f1 = {
        2: ("f1", {"pos_label": "b"}),
        3: ("macro_f1", {"average": "macro"}),
    }[count]
    for size in [40] * 10 + [3] * 20:  # three rows lack a class or more
        wanted, found = rng.choice(labels, (2, size)).tolist()
        got = metrics.scores(found, wanted, labels)
        if not {"b"} & {*wanted, *found} and count == 2:
            f1 = {"pos_label": "b", "labels": ["b"], "average": "macro"}
        assert got == pytest.approx(
            {
                "accuracy": sk.accuracy_score(wanted, found),
                name: sk.f1_score(wanted, found, **f1, zero_division=0),
                "matthews": sk.matthews_corrcoef(wanted, found),
            }
        )


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


def test_scores_of_several_are_those_of_scikit_learn():
    sk, zero = _sklearn(), {"zero_division": 0}
    rng = np.random.default_rng(0)
    for share in (0.02, 0.1, 0.5):  # the first leaves labels without rows
        wanted, found = (rng.random((2, 30, 3)) < share).astype(int)
        names = [
            [
                [x for x, one in zip(LABELS, row, strict=True) if one]
                for row in y
            ]
            for y in (found, wanted)
        ]
        got = metrics.scores_of_several(*names, LABELS)
        assert got == pytest.approx(
            {
                "accuracy": sk.accuracy_score(wanted, found),
                "f1": sk.f1_score(wanted, found, average="micro", **zero),
                "macro_f1": sk.f1_score(wanted, found, average="macro", **zero),
            }
        )
        report = metrics.class_report(*names, LABELS)
        wanted_report = sk.precision_recall_fscore_support(
            wanted, found, **zero
        )
        for i, label in enumerate(LABELS):
            want = [column[i] for column in wanted_report]
            assert list(report[label].values()) == pytest.approx(want)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 7, "x"])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(ValueError, match="threshold is .*; needs"):
        Settings(multi_label=True, threshold=threshold)


def test_a_threshold_is_of_several_labels():
    assert Settings(multi_label=True).threshold == 0.5
    with pytest.raises(ValueError, match="wanted none without multi_label"):
        Settings(threshold=0.5)
