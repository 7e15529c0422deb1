# SPDX-License-Identifier: Apache-2.0
"""Tags for words: those that mark entities, or classes such as parts of speech.

Tags that mark entities are IOB2: "B-" and a type for the first word of an
entity, "I-" and the type for its others, "O" for words outside of any. Labels
of other libraries' models may stand in any order and be of IOB1, BIOES, BILOU
or BMES too. If any label is none of these, all are classes of words.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.models import encode
from kbert.tasks.heads import Head, dense_head
from kbert.tasks.tagging.settings import Settings

OUTSIDE = "O"
_MARK = re.compile("O|[BIESLUM]-.+", re.DOTALL)


def build_tagger(config: BertConfig, num_tags: int) -> keras.Model:
    """An encoder with a head on each token.

    Inputs: token_ids, segment_ids, padding_mask, each (B, S) int32.
    Outputs: logits (B, S, num_tags) float32.
    Raises: ValueError if there are fewer than two tags.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 5.3.
    """
    if num_tags < 2:
        raise ValueError(f"num_tags is {num_tags}; needs 2 or more.")
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
    """The meaning of the labels for their words.

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


HEAD = Head(
    build=lambda config, spec: build_tagger(config, num_tags=len(spec.labels)),
    losses=lambda spec: losses(),
    metrics=lambda spec: metrics(),
    settings=Settings,
    has_labels=True,
    # Each word has a quarter of the length around it.
    default_settings=lambda length: {"stride": max(1, length // 2)},
)
