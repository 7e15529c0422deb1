# SPDX-License-Identifier: Apache-2.0
"""Tags for words: those that mark entities, or classes such as parts of speech.

Tags that mark entities are IOB2: "B-" and a type for the first word of an
entity, "I-" and the type for its others, "O" for words outside of any. Labels
of other libraries' models may stand in any order and be of IOB1, BIOES, BILOU
or BMES too. If any label is none of these, all are classes of words.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, NamedTuple

import keras
import numpy as np
from keras import ops

from kbert import features, json_files
from kbert.config import MAX_SEQ_LENGTH, BertConfig
from kbert.json_files import Range
from kbert.models import encode
from kbert.tasks.heads import dense_head

METRIC = "f1"  # by which the best model is chosen
WORD_METRIC = "accuracy"  # the same, of classes of words
OUTSIDE = "O"
AGGREGATIONS = ("first", "simple", "joined")
_MARK = re.compile("O|[BIESLUM]-.+", re.DOTALL)

Tags = Sequence[str]  # of the words of a sentence
Entity = tuple[str, int, int]  # type, first and last word


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a tagger has beside its labels.

    Attributes:
        stride: tokens between the starts of the windows over a sentence
            that is longer than the model.
        aggregation: how tags become entities, as transformers' pipeline for
            token classification names it. "first": a word has the tag of its
            first token. "simple": in a text, each token has its own, so that
            an entity may be a part of a word; a given word is as by "first".
            "joined": as "first", and entities of one type side by side are
            one.
    Raises: ValueError, naming the field.
    """

    stride: Annotated[int, Range(at_least=1, at_most=MAX_SEQ_LENGTH)] = 64
    aggregation: str = "first"

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        json_files.check(vars(self), Settings, "")
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(
                f"aggregation is {self.aggregation!r}; expected one of "
                f"{list(AGGREGATIONS)}."
            )


def build_tagger(config: BertConfig, num_tags: int) -> keras.Model:
    """An encoder with a head on each token.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32.
    Outputs: logits (B, S, num_tags) float32.
    Raises: ValueError if there are fewer than two tags.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 5.3.
    """
    if num_tags < 2:
        raise ValueError(f"num_tags is {num_tags}; wanted 2 or more.")
    inputs = features.keras_inputs(features.ENCODER_INPUTS)
    hidden = encode(config, inputs).sequence
    logits = dense_head(config, hidden, num_tags, "tagger")
    return keras.Model(inputs, {features.LOGITS: logits}, name="tagger")


def losses() -> dict[str, keras.losses.Loss]:
    """Cross-entropy with the tag of each token; weights say which count."""
    return {
        features.LOGITS: keras.losses.SparseCategoricalCrossentropy(
            from_logits=True
        )
    }


def metrics() -> dict[str, list[keras.metrics.Metric]]:
    """The share of the tokens that count that are right."""
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    return {features.LOGITS: [accuracy]}


def labels_of(types: Sequence[str]) -> tuple[str, ...]:
    """All tags of some types, "O" first: the labels of a model."""
    names = (f"{prefix}-{name}" for name in types for prefix in "BI")
    return (OUTSIDE, *names)


def mark_entities(labels: Sequence[str]) -> bool:
    """Whether labels mark entities; else they are classes of words."""
    return {*labels} != {OUTSIDE} and all(map(_MARK.fullmatch, labels))


class LabelTable(NamedTuple):
    """What labels say of their word.

    The arrays have 1 + C elements: the first is of no label.

    Attributes:
        types: of entities, or the classes.
        type_of: int32, 1 + the index of the type, or 0 for none.
        begins: bool, whether an entity begins at the word whatever is before.
        ends: bool, whether it ends there whatever follows.
        inside: int32, the label of a word amid an entity of that type.
        outside: that of a word of which nothing is known.
        classes: whether labels are classes of words.
    """

    types: tuple[str, ...]
    type_of: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    inside: np.ndarray
    outside: int
    classes: bool


def label_table(
    labels: Sequence[str], aggregation: str = "first"
) -> LabelTable:
    """The table of a model's labels, by which `entity_bounds` reads tags.

    Each word of a class is an entity, but not by "simple" and "joined": there
    words or tokens of one class side by side are one, and "O" is none.
    """
    index = {label: i for i, label in enumerate(labels)}
    if mark_entities(labels):
        letters, names = zip(*[(x[0], x[2:]) for x in labels], strict=True)
    else:
        letters = ["S" if aggregation == "first" else "I"] * len(labels)
        none = OUTSIDE if aggregation != "first" else None
        names = ["" if label == none else label for label in labels]
    types = tuple(dict.fromkeys(filter(None, names)))
    apart = aggregation != "joined"
    return LabelTable(
        types=types,
        type_of=np.array(
            [0] + [types.index(x) + 1 if x else 0 for x in names], np.int32
        ),
        begins=np.array([False, *(apart and x in "BSU" for x in letters)]),
        ends=np.array([False, *(apart and x in "ESLU" for x in letters)]),
        inside=np.array(
            [-1]
            + [
                index.get(f"I-{name}", index.get(f"M-{name}", i))
                for i, name in enumerate(names)
            ],
            np.int32,
        ),
        outside=index.get(OUTSIDE, 0),
        classes=not mark_entities(labels),
    )


def decode(logits):
    """(B, S, C) logits -> best tags (B, S) int32, their probabilities."""
    probabilities = ops.softmax(ops.cast(logits, "float32"))
    tags = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return tags, ops.max(probabilities, axis=-1)


def entity_bounds(tags, table: LabelTable):
    """Finds the entities, by the rule of `entities`.

    Example: O B-x I-x I-y B-y is [0, 1, 2, 4, 3]: three entities, first
    [F, T, F, T, T] and last [F, F, T, T, T].

    Args:
        tags: (B, W) int32, indices of labels, -1 for no word.
        table: of the labels.
    Returns: type (B, W) int32, 1 + its index, 0 outside of entities; first
        and last, each (B, W) bool, which words begin and end one.
    """
    type_of = ops.take(table.type_of, tags + 1)
    goes_on = _goes_on(tags[:, :-1], tags[:, 1:], table)
    no_word = ops.zeros_like(tags[:, :1], dtype="bool")
    inside = ops.not_equal(type_of, 0)
    begins = ops.logical_not(ops.concatenate([no_word, goes_on], axis=1))
    ends = ops.logical_not(ops.concatenate([goes_on, no_word], axis=1))
    return type_of, inside & begins, inside & ends


def between(before, after, table: LabelTable):
    """The tags of words that have no token, by the nearest ones that have.

    Inside of an entity it is that of the entity, else "O". Of classes it is
    that of the word before or, if there is none, after.

    Args:
        before: int32, indices of labels, -1 if there is none.
        after: the same shape.
        table: of the labels.
    """
    if table.classes:
        nearest = ops.where(before < 0, after, before)
        return ops.where(nearest < 0, table.outside, nearest)
    inside = ops.take(table.inside, after + 1)
    goes_on = _goes_on(before, after, table)
    return ops.where(goes_on, inside, table.outside)


def _goes_on(before, after, table: LabelTable):
    """Whether tags are of one entity with those before."""
    kind = ops.take(table.type_of, after + 1)
    same = ops.equal(kind, ops.take(table.type_of, before + 1))
    parted = ops.take(table.ends, before + 1) | ops.take(
        table.begins, after + 1
    )
    return ops.not_equal(kind, 0) & same & ops.logical_not(parted)


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
    for place, tag in enumerate(tags):
        letter, name = tag[0], None if tag == OUTSIDE else tag[2:]
        if name is not None and name == open_type and letter in "IELM":
            found[-1] = (name, found[-1][1], place)
        elif name is not None and (letter in "BSU" or not strict):
            found.append((name, place, place))
            open_type = name
        else:
            open_type = None
        if letter in "ESLU":
            open_type = None
    return found


def scores(
    predicted: Sequence[Tags], wanted: Sequence[Tags]
) -> dict[str, float]:
    """Precision, recall and F1 of all entities together.

    An entity is right if its type, first and last word are. The strict ones
    are of the entities that `entities` finds when strict, on both sides.
    They are those of seqeval.

    Args:
        predicted: the tags of each sentence.
        wanted: likewise, as many.
    """
    found = {}
    for prefix, strict in (("", False), ("strict_", True)):
        pairs = [
            _counts(set(entities(p, strict)), set(entities(w, strict)))
            for p, w in zip(predicted, wanted, strict=True)
        ]
        report = _report(*map(sum, zip(*pairs, strict=True)))
        for name in ("precision", "recall", "f1"):
            found[prefix + name] = report[name]
    return found


def class_report(
    predicted: Sequence[Tags], wanted: Sequence[Tags]
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and the number of entities of each type.

    Args:
        predicted: the tags of each sentence.
        wanted: likewise, as many.
    """
    found, gold = (
        {(i, *e) for i, tags in enumerate(rows) for e in entities(tags)}
        for rows in (predicted, wanted)
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
    predicted: Sequence[Tags], wanted: Sequence[Tags]
) -> dict[str, float]:
    """Accuracy of all words, and the macro F1 of their classes.

    They are those of scikit-learn: see `classification.scores`.
    """
    found, gold = _in_a_row(predicted, wanted)
    f1 = [x["f1"] for x in word_class_report(predicted, wanted).values()]
    right = sum(map(str.__eq__, found, gold))
    return {
        "accuracy": right / len(gold),
        "macro_f1": sum(f1) / len(f1),
    }


def word_class_report(
    predicted: Sequence[Tags], wanted: Sequence[Tags]
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and the number of words of each class."""
    found, gold = _in_a_row(predicted, wanted)
    given, there = Counter(found), Counter(gold)
    right = Counter(x for x, y in zip(found, gold, strict=True) if x == y)
    return {
        name: _report(right[name], given[name], there[name])
        for name in sorted({*given, *there})
    }


def _in_a_row(predicted, wanted) -> tuple[list[str], list[str]]:
    """The words' classes of all sentences, one after the other."""
    return list(chain(*predicted)), list(chain(*wanted))


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
