# SPDX-License-Identifier: Apache-2.0
"""Scores of predicted tags: of entities, or of the words of classes."""

from collections.abc import Sequence
from itertools import chain

from kbert.tasks.tagging.head import OUTSIDE

METRIC = "f1"  # by which the best model is chosen
WORD_METRIC = "accuracy"  # the same, of classes of words
Tags = Sequence[str]  # of the words of a sentence
Entity = tuple[str, int, int]  # type, first and last word


def entities(tags: Tags, strict: bool = False) -> list[Entity]:
    """The entities of a sentence, in their order.

    Args:
        tags: IOB2, IOB1, BIOES, BILOU or BMES. An "I-" that continues no
            entity of its type begins one, as in CoNLL's conlleval (Tjong Kim
            Sang and De Meulder 2003, doi:10.3115/1119176.1119195, section 2).
        strict: whether it then belongs to none.
    Returns: type, first and last word of each.
    """
    found: list[Entity] = []
    open_type = None  # of the entity that the last word was in
    for word, tag in enumerate(tags):
        letter, name = tag[0], None if tag == OUTSIDE else tag[2:]
        if name is not None and name == open_type and letter in "IELM":
            found[-1] = (name, found[-1][1], word)
        elif name is not None and (letter in "BSU" or not strict):
            found.append((name, word, word))
            open_type = name
        else:
            open_type = None
        if letter in "ESLU":
            open_type = None
    return found


def scores(
    predicted: Sequence[Tags], references: Sequence[Tags]
) -> dict[str, float]:
    """Precision, recall and F1 of all entities together.

    An entity is right if its type, first and last word are. The strict ones
    are of the entities that `entities` finds when strict, on both sides.
    They are those of seqeval.

    Args:
        predicted: the tags of each sentence.
        references: the same, as many.
    """
    found = {}
    for prefix, strict in (("", False), ("strict_", True)):
        pairs = [
            _counts(set(entities(p, strict)), set(entities(r, strict)))
            for p, r in zip(predicted, references, strict=True)
        ]
        report = _report(*map(sum, zip(*pairs, strict=True)))
        for name in ("precision", "recall", "f1"):
            found[prefix + name] = report[name]
    return found


def class_report(
    predicted: Sequence[Tags], references: Sequence[Tags]
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and the number of entities of each type.

    Args:
        predicted: the tags of each sentence.
        references: the same, as many.
    """
    found, gold = (
        {(i, *e) for i, tags in enumerate(rows) for e in entities(tags)}
        for rows in (predicted, references)
    )
    return {
        name: _report(
            *_counts(
                {e for e in found if e[1] == name},
                {e for e in gold if e[1] == name},
            )
        )
        for name in sorted({e[1] for e in found | gold})
    }


def word_scores(
    predicted: Sequence[Tags], references: Sequence[Tags]
) -> dict[str, float]:
    """Accuracy of all words, and the macro F1 over the classes that occur."""
    from sklearn import metrics  # here: predictions need no second for it

    found, gold = list(chain(*predicted)), list(chain(*references))
    return {
        "accuracy": float(metrics.accuracy_score(gold, found)),
        "macro_f1": float(
            metrics.f1_score(gold, found, average="macro", zero_division=0.0)
        ),
    }


def word_class_report(
    predicted: Sequence[Tags], references: Sequence[Tags]
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and the number of words of each class."""
    from sklearn import metrics

    found, gold = list(chain(*predicted)), list(chain(*references))
    names = sorted({*found, *gold})
    columns = metrics.precision_recall_fscore_support(
        gold, found, labels=names, zero_division=0.0
    )
    return {
        name: dict(
            zip(("precision", "recall", "f1", "rows"), values, strict=True)
        )
        for name, *values in zip(
            names, *(x.tolist() for x in columns), strict=True
        )
    }


def _counts(found: set, gold: set) -> tuple[int, int, int]:
    return len(found & gold), len(found), len(gold)


def _report(right: int, found: int, gold: int) -> dict[str, float]:
    """0 where there is nothing to divide by."""
    return {
        "precision": right / found if found else 0.0,
        "recall": right / gold if gold else 0.0,
        "f1": 2 * right / (found + gold) if found + gold else 0.0,
        "rows": gold,
    }
