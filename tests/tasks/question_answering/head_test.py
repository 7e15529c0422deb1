# SPDX-License-Identifier: Apache-2.0
"""Positions of answers, decoding against plain loops, official scores."""

import random

import numpy as np
import pytest

from kbert.tasks.question_answering import head, metrics
from kbert.tasks.question_answering.settings import Settings

STEEP = 8.0  # a logit whose probability is near 1


def test_logits_are_masked_but_for_the_paragraph_and_cls(tiny_config, batch):
    del batch["mask_positions"]
    model = head.build_question_answerer(tiny_config)
    logits = model(batch)["logits"].numpy()
    assert logits.shape == (3, 2, 8)
    want = np.zeros((3, 8), bool)
    want[:, 0] = True
    want[0, 6] = True  # the [SEP] at 7 is none
    want[1, 4:6] = True
    # The third row has one segment: nothing but [CLS].
    for vector in (0, 1):
        np.testing.assert_array_equal(logits[:, vector] > -1e8, want)
    assert np.isfinite(logits).all()
    assert np.ptp(logits[:, :, 0], axis=1).min() > 1e-4  # two vectors


def test_the_loss_is_half_the_sum_of_two():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 2, 7)).astype("float32")
    labels = np.array([[1, 4], [0, 0], [6, 6]], "int32")
    (loss,) = head.losses().values()
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    each = [-logs[i, k, labels[i, k]] for i in range(3) for k in range(2)]
    np.testing.assert_allclose(loss(labels, logits), sum(each) / 6, rtol=1e-6)


def _random_rows(seed, rows=5, size=19):
    """Logits, some equal, and which tokens stand in a paragraph."""
    rng = np.random.default_rng(seed)
    start, end = rng.normal(size=(2, rows, size)).round(1).astype("float32")
    allowed = np.zeros((rows, size), bool)
    for row in range(rows - 1):
        first, last = sorted(rng.integers(0, size + 1, 2))
        allowed[row, first:last] = True
    allowed[-1] = True
    return start, end, allowed


def _pairs(allowed, longest):
    """All spans of a row."""
    size = len(allowed)
    for i in range(size):
        for j in range(i, min(i + longest, size)):
            if allowed[i] and allowed[j]:
                yield i, j


@pytest.mark.parametrize("longest", [1, 4, 30])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_best_spans_are_those_of_a_loop(seed, longest):
    start, end, allowed = _random_rows(seed)
    spans = head.decode(
        start, end, allowed, max_answer_length=longest, count=12
    )
    shares, none = head.probabilities(spans, no_answer=start[:, 0])
    for row in range(len(start)):
        want = sorted(
            (-(start[row, i] + end[row, j]), i, j)
            for i, j in _pairs(allowed[row], longest)
        )[:12]
        count = int(np.sum(spans.exists[row]))
        assert count == len(want)
        for k, (score, i, j) in enumerate(want):
            assert (spans.first[row][k], spans.last[row][k]) == (i, j)
            np.testing.assert_allclose(spans.score[row][k], -score, rtol=1e-6)
        together = np.exp([*(-score for score, *_ in want), start[row, 0]])
        together /= together.sum()
        np.testing.assert_allclose(shares[row][:count], together[:-1], 1e-5)
        np.testing.assert_allclose(none[row], together[-1], 1e-5)
        assert not np.any(shares[row][count:])
        assert not np.any(spans.last[row][count:])


def test_without_no_answer_the_spans_share_everything():
    spans = head.decode(*_random_rows(3), max_answer_length=4, count=3)
    shares, none = head.probabilities(spans)
    total = np.sum(shares, axis=1)
    np.testing.assert_allclose(total[np.any(spans.exists, axis=1)], 1, 1e-6)
    assert not np.any(none[-1])


def test_decoding_by_hand():
    # The best end is before the best start: 3 to 4 is the best pair.
    start = np.array([[0, 1, 0, 5, 0, 0]], "float32")
    end = np.array([[0, 7, 0, 0, 4, 3]], "float32")
    allowed = np.array([[0, 0, 1, 1, 1, 1]], bool)
    spans = head.decode(start, end, allowed, max_answer_length=2, count=3)
    found = list(zip(spans.first[0], spans.last[0], strict=True))
    assert found == [(3, 4), (3, 3), (4, 4)]
    np.testing.assert_array_equal(spans.score[0], [9, 5, 4])


def _several_by_hand(start, end, allowed, longest, threshold):
    """The definition of decode_several as loops: [(first, last)]."""
    p_start, p_end = (1 / (1 + np.exp(-x.astype("f4"))) for x in (start, end))
    probable = {
        (i, j): p_start[i] * p_end[j]
        for i, j in _pairs(allowed, longest)
        if p_start[i] * p_end[j] >= threshold
    }

    def holds_two(i, j):
        return any(
            a == i and d == j and b < c
            for a, b in probable
            for c, d in probable
        )

    left = {span: p for span, p in probable.items() if not holds_two(*span)}
    found = []
    while left:
        i, j = min(left, key=lambda span: (-left[span], span))
        found.append((i, j))
        left = {(a, b): p for (a, b), p in left.items() if b < i or a > j}
    return sorted(found)


def _several(start, end, allowed, longest=30, threshold=0.5):
    last, probability = map(
        np.array,
        head.decode_several(
            start,
            end,
            allowed,
            max_answer_length=longest,
            threshold=threshold,
        ),
    )
    assert ((last >= 0) == (probability >= threshold)).all()
    return [[(i, int(j)) for i, j in enumerate(row) if j >= 0] for row in last]


@pytest.mark.parametrize("longest", [1, 3, 30])
@pytest.mark.parametrize("threshold", [0.15, 0.4])
def test_several_answers_are_those_of_loops(longest, threshold):
    most = 0
    for seed in range(4):
        start, end, allowed = _random_rows(seed)
        start, end = 3 * start, 3 * end + np.float32(0.01)  # no equal products
        found = _several(start, end, allowed, longest, threshold)
        for row, spans in enumerate(found):
            assert spans == _several_by_hand(
                start[row], end[row], allowed[row], longest, threshold
            )
            most = max(most, len(spans))
    assert most > 2


def test_of_equal_answers_the_first_is_taken():
    """As of a text that repeats itself, whose spans overlap the next ones."""
    start = np.tile(np.array([0, 1, -9, 0.5], "f4"), (2, 30))
    end = np.tile(np.array([-9, 0, 1], "f4"), (2, 40))
    allowed = np.arange(120) < np.array([[120], [61]])
    found = _several(start, end, allowed, 7, 0.15)
    for row, spans in enumerate(found):
        assert spans == _several_by_hand(
            start[row], end[row], allowed[row], 7, 0.15
        )
    assert len(found[0]) > 20


def test_two_answers_are_not_joined():
    """From the first one's start to the second one's end would be best."""
    start, end = np.full((2, 1, 9), -STEEP, "float32")
    start[0, [1, 5]] = STEEP, 1  # the second's start is least sure
    end[0, [2, 6]] = 1, STEEP  # so is the first's end
    allowed = np.ones((1, 9), bool)
    assert _several(start, end, allowed) == [[(1, 2), (5, 6)]]
    # With one of them out of reach it is one answer.
    start[0, 5] = -STEEP
    assert _several(start, end, allowed) == [[(1, 6)]]


def test_of_two_ends_of_one_answer_the_better_is_taken():
    start, end = np.full((2, 1, 9), -STEEP, "float32")
    start[0, 1] = STEEP
    end[0, [2, 3]] = 1, 2
    allowed = np.ones((1, 9), bool)
    assert _several(start, end, allowed) == [[(1, 3)]]
    end[0, 2] = 3
    assert _several(start, end, allowed) == [[(1, 2)]]


def test_normalized():
    assert (
        metrics.normalized(" The  U.S.A. and a\tnapkin, An") == "usa and napkin"
    )
    assert metrics.normalized("the") == ""


WORDS = [
    "the",
    "a",
    "Film",
    "film.",
    "was",
    "good",
    "\u00c9t\u00e9",
    "-",
    "1,000",
]


def _text(rng, words, most=4):
    return " ".join(rng.choices(words, k=rng.randint(0, most)))


def _questions(seed, share_without, words=WORDS):
    """Random answers to random questions, as data of SQuAD too."""
    rng = random.Random(seed)
    references = [
        []
        if rng.random() < share_without
        else [_text(rng, words) or "film" for _ in range(rng.randint(1, 3))]
        for _ in range(200)
    ]
    predicted = [
        rng.choice(some) if some and rng.random() < 0.4 else _text(rng, words)
        for some in references
    ]
    qas = [
        {"id": str(i), "answers": [{"text": text} for text in some]}
        for i, some in enumerate(references)
    ]
    return rng, references, predicted, [{"paragraphs": [{"qas": qas}]}]


@pytest.mark.parametrize("seed", range(5))
def test_scores_of_1_1_are_the_official_ones(seed):
    official = pytest.importorskip("official.nlp.tools.squad_evaluate_v1_1")
    _, references, predicted, data = _questions(seed, share_without=0)
    by_id = {str(i): text for i, text in enumerate(predicted)}
    want = official.evaluate(data, by_id)
    assert metrics.scores(predicted, references) == pytest.approx(
        {"exact_match": want["exact_match"], "f1": want["final_f1"]}, rel=1e-12
    )
    assert 0.2 < want["exact_match"] < want["final_f1"] < 0.9


@pytest.mark.parametrize("seed", range(10))
def test_scores_of_2_0_are_the_official_ones(seed):
    official = pytest.importorskip("official.nlp.tools.squad_evaluate_v2_0")
    share = [0.05, 0.5, 0.95, 1.0][seed % 4]
    rng, references, predicted, data = _questions(seed, share)
    none = [rng.gauss(0.5 if not some else 0, 1) for some in references]
    by_id = {str(i): text for i, text in enumerate(predicted)}
    odds = {str(i): score for i, score in enumerate(none)}
    odds_below_1 = {i: score - 10 for i, score in odds.items()}
    official_scores = official.evaluate(data, by_id, odds_below_1)
    want = {k: v / 100 for k, v in official_scores.items()}
    got = metrics.scores(predicted, references)
    assert got["exact_match"] == pytest.approx(want["exact"], rel=1e-12)
    assert got["f1"] == pytest.approx(want["f1"], rel=1e-12)
    for mine, theirs in (("has_answer", "HasAns"), ("no_answer", "NoAns")):
        assert (f"{mine}_f1" in got) == (f"{theirs}_f1" in want)
        for a, b in (("exact_match", "exact"), ("f1", "f1")):
            assert got.get(f"{mine}_{a}", -1) == pytest.approx(
                want.get(f"{theirs}_{b}", -1), rel=1e-12
            )
    best = metrics.best_thresholds(predicted, none, references)
    for a, b in (("exact_match", "exact"), ("f1", "f1")):
        assert best[f"best_{a}"] == pytest.approx(want[f"final_{b}"], rel=1e-12)
        threshold = best[f"best_{a}_threshold"]
        # It parts the questions where the official one does.
        theirs = official_scores[f"final_{b}_thresh"] + 10
        if theirs != 10:  # 0, with which it begins: no question is answered
            assert sum(x <= threshold for x in none) == sum(
                x <= theirs + 1e-9 for x in none
            )


@pytest.mark.parametrize("seed", range(4))
def test_the_best_threshold_gives_the_best_score(seed):
    rng, references, predicted, _ = _questions(seed, 0.5, WORDS[2:7])
    none = [rng.gauss(0.5 if not some else 0, 1) for some in references]
    best = metrics.best_thresholds(predicted, none, references)

    def score(name, threshold):
        answers = [
            text if score <= threshold else ""
            for text, score in zip(predicted, none, strict=True)
        ]
        return metrics.scores(answers, references)[name]

    for name in ("exact_match", "f1"):
        found = score(name, best[f"best_{name}_threshold"])
        assert found == pytest.approx(best[f"best_{name}"], rel=1e-12)
        assert found >= max(score(name, x) for x in [*none, -9])


def test_equal_no_answer_scores_are_not_parted():
    references = [["good"], []]
    best = metrics.best_thresholds(["good", "bad"], [1.0, 1.0], references)
    assert best["best_f1"] == 0.5
    best = metrics.best_thresholds(["good", "bad"], [1.0, 1.5], references)
    assert best["best_f1"] == 1.0
    assert best["best_f1_threshold"] == 1.25


def test_scores_of_several():
    predicted = [["The film", "bad"], [], ["good"], ["good"], []]
    references = [["bad", "film"], [], ["good", "bad"], [], ["good"]]
    assert metrics.scores_of_several(predicted, references) == pytest.approx(
        {"exact_match": 2 / 5, "f1": (1 + 1 + 2 / 3) / 5}
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stride": 0}, "stride is 0; needs 1 <= x"),
        ({"max_answer_length": 3.0}, "max_answer_length is 3.0"),
        ({"max_query_length": True}, "max_query_length is true"),
        (
            {"threshold": float("nan")},
            "threshold is NaN; needs a finite",
        ),
        (
            {"threshold": 1.5, "several_answers": True},
            "threshold is 1.5; needs 0 < x < 1",
        ),
        (
            {"no_answer": True, "several_answers": True},
            "no_answer and several_answers are both set",
        ),
    ],
)
def test_settings_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        Settings(**fields)


def test_thresholds_by_default():
    assert Settings().threshold == 0.0
    assert Settings(several_answers=True).threshold == 0.5
