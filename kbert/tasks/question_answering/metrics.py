# SPDX-License-Identifier: Apache-2.0
"""The official scores of SQuAD 1.1 and 2.0."""

import collections
import math
import re
import string
from collections.abc import Sequence

METRIC = "f1"  # by which the best model is chosen
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """Lower case without punctuation, articles and superfluous white space.

    As SQuAD's official evaluation compares texts: Rajpurkar et al. 2016,
    arXiv:1606.05250, section 6.1.
    """
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", text).split())


def scores(
    predicted: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Exact match and F1 of words, as SQuAD's official scripts compute them.

    Each is a mean over questions of the best over a question's answers, from
    0 to 1. Where a question has none, all are scored by the rules of 2.0, by
    which only "" answers it, and those with answers and those without are
    scored separately too.

    Args:
        predicted: an answer for each question, or "".
        references: the right answers to each, or none.
    """
    pairs = list(zip(predicted, references, strict=True))
    if all(references):
        return _mean([_by_answers(found, right) for found, right in pairs])
    rows = [question_scores(found, right) for found, right in pairs]
    result = _mean(rows)
    for name, has in (("has_answer", True), ("no_answer", False)):
        some = [
            row
            for row, right in zip(rows, references, strict=True)
            if bool(right) == has
        ]
        if some:
            means = _mean(some).items()
            result |= {f"{name}_{key}": value for key, value in means}
    return result


def question_scores(
    predicted: str, references: Sequence[str]
) -> tuple[float, float]:
    """Exact match and F1 of one question, by the rules of SQuAD 2.0."""
    references = [text for text in references if normalized(text)]
    if references:
        return _by_answers(predicted, references)
    is_none = float(not normalized(predicted))
    return is_none, is_none


def _by_answers(predicted, references) -> tuple[float, float]:
    """Exact match and F1 with the best of one or more answers."""
    exact = max(
        normalized(predicted) == normalized(text) for text in references
    )
    return float(exact), max(_f1(predicted, text) for text in references)


def _f1(predicted: str, reference: str) -> float:
    found = collections.Counter(normalized(predicted).split())
    right = collections.Counter(normalized(reference).split())
    common = (found & right).total()
    return 2 * common / (found.total() + right.total()) if common else 0.0


def _mean(rows) -> dict[str, float]:
    exact, f1 = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    return {"exact_match": exact, "f1": f1}


def best_thresholds(
    predicted: Sequence[str],
    no_answer_scores: Sequence[float],
    references: Sequence[Sequence[str]],
) -> dict[str, float]:
    """The best scores that a threshold for no answer can give, and where.

    The scores are those of the official evaluation of SQuAD 2.0, whose
    threshold is the last no-answer score that is not above it; here it is
    half way to the next one, at most 0.5 above, so that rounding changes
    nothing.

    Args:
        predicted: the best span of each question, whatever its score.
        no_answer_scores: the higher, the more likely there is no answer.
        references: the right answers to each question, or none.
    """
    order = sorted(range(len(references)), key=no_answer_scores.__getitem__)
    ranked = [no_answer_scores[row] for row in order]
    nexts = [*ranked[1:], math.inf]
    result = {}
    for column, name in enumerate(("exact_match", "f1")):
        total = best = float(sum(not right for right in references))
        threshold = ranked[0] - 0.5
        for row, score, following in zip(order, ranked, nexts, strict=True):
            if references[row]:
                total += question_scores(predicted[row], references[row])[
                    column
                ]
            elif predicted[row]:
                total -= 1
            if total > best and following > score:
                best = total
                threshold = min((score + following) / 2, score + 0.5)
        result[f"best_{name}"] = best / len(references)
        result[f"best_{name}_threshold"] = threshold
    return result


def scores_of_several(
    predicted: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Exact match and F1 of questions that have any number of answers.

    A question's exact match is 1 if all its answers and no others are given;
    its F1 is that of whole answers. Both compare normalized texts, and are
    means over the questions.
    """
    rows = zip(predicted, references, strict=True)
    return _mean([question_scores_of_several(*row) for row in rows])


def question_scores_of_several(
    predicted: Sequence[str], references: Sequence[str]
) -> tuple[float, float]:
    """Exact match and F1 of one question."""
    found = collections.Counter(map(normalized, predicted))
    right = collections.Counter(map(normalized, references))
    if found == right:
        return 1.0, 1.0
    both = (found & right).total()
    return 0.0, 2 * both / (found.total() + right.total())
