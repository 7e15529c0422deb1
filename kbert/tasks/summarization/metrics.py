# SPDX-License-Identifier: Apache-2.0
"""Scores of summaries: ROUGE, and of the chosen sentences."""

import importlib.util
from collections.abc import Sequence

import numpy as np

METRIC = "rouge_l"  # by which the best model is chosen
_ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


def check_rouge() -> None:
    """Checks that the library of `rouge` is installed.

    Raises: ValueError that says how to install it.
    """
    if importlib.util.find_spec("rouge_score") is None:
        raise ValueError(
            "Summaries are scored with rouge-score, which is not installed; "
            "install kbert-keras[rouge]."
        )


def rouge(
    summaries: Sequence[str], references: Sequence[str]
) -> list[dict[str, float]]:
    """F1 of ROUGE-1, ROUGE-2 and ROUGE-L of each summary, words stemmed.

    Those of Google's rouge-score, whose words are made of a to z and 0 to 9
    alone: it is for English, and no words are found in most other scripts.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of
        Summaries", sections 2 and 3.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(_ROUGE.values()), use_stemmer=True)
    pairs = zip(references, summaries, strict=True)
    found = [scorer.score(target=gold, prediction=x) for gold, x in pairs]
    return [
        {ours: float(row[name].fmeasure) for ours, name in _ROUGE.items()}
        for row in found
    ]


def scores(
    summaries: Sequence[str],
    references: Sequence[str],
    chosen: Sequence[Sequence[int]],
    labelled: Sequence[Sequence[int]],
) -> dict[str, float]:
    """The means of `rouge`, and how many sentences were rightly chosen.

    Args:
        summaries: of all documents.
        references: what they should be.
        chosen: the indices of each summary's sentences.
        labelled: the indices of those that are labelled 1.
    Returns: rouge_1, rouge_2, rouge_l; precision, the share of all chosen
        sentences that are labelled 1, 0 where none was chosen.
    """
    rows = rouge(summaries, references)
    pairs = zip(chosen, labelled, strict=True)
    right = sum(len({*found} & {*gold}) for found, gold in pairs)
    return {
        **{
            name: float(np.mean([row[name] for row in rows])) for name in _ROUGE
        },
        "precision": right / max(1, sum(map(len, chosen))),
    }
