# SPDX-License-Identifier: Apache-2.0
"""Tags for words, such as those that mark named entities.

Tags are IOB2: "B-" and a type for the first word of an entity, "I-" and the
type for its others, "O" for words outside of any.
"""

import dataclasses
from collections.abc import Sequence

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.models import encode
from kbert.tasks.heads import dense_head

METRIC = "f1"  # by which the best model is chosen
OUTSIDE = "O"

Tags = Sequence[str]  # of the words of a sentence
Entity = tuple[str, int, int]  # type, first and last word


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a tagger has beside its labels.

    Attributes:
        stride: tokens between the starts of the windows over a sentence
            that is longer than the model.
    Raises: ValueError if it is no whole number, 1 or more.
    """

    stride: int = 64

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        if type(self.stride) is not int or self.stride < 1:
            raise ValueError(
                f"stride is {self.stride!r}; wanted a whole number, 1 or more."
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


def types_of(labels: Sequence[str]) -> tuple[str, ...]:
    """The types that labels are of.

    Raises: ValueError if the labels are not those of some types.
    """
    types = tuple(label[2:] for label in labels[1::2])
    if labels_of(types) != tuple(labels):
        raise ValueError(
            f"labels are {list(labels)}; wanted {OUTSIDE!r}, then B-x and I-x "
            "of each type x."
        )
    return types


def decode(logits):
    """(B, S, C) logits -> best tags (B, S) int32, their probabilities."""
    probabilities = ops.softmax(ops.cast(logits, "float32"))
    tags = ops.cast(ops.argmax(logits, axis=-1), "int32")
    return tags, ops.max(probabilities, axis=-1)


def entity_bounds(tags):
    """Finds the entities, by the rule of `entities`.

    Example: O B-x I-x I-y B-y is [0, 1, 2, 4, 3]: three entities, first
    [F, T, F, T, T] and last [F, F, T, T, T].

    Args:
        tags: (B, W) int32, places in `labels_of` some types.
    Returns: first and last, each (B, W) bool, which words begin and end one.
    """
    type_of = ops.floor_divide(tags + 1, 2)  # 0 for none
    inside = ops.not_equal(type_of, 0)
    no_type = ops.zeros_like(type_of[:, :1])
    before = ops.concatenate([no_type, type_of[:, :-1]], axis=1)
    is_b = ops.equal(ops.mod(tags, 2), 1)
    first = inside & (is_b | ops.not_equal(type_of, before))
    goes_on = inside & ops.logical_not(first)
    no_word = ops.zeros_like(goes_on[:, :1])
    next_goes_on = ops.concatenate([goes_on[:, 1:], no_word], axis=1)
    return first, inside & ops.logical_not(next_goes_on)


def entities(tags: Tags, strict: bool = False) -> list[Entity]:
    """The entities of a sentence, in their order.

    Args:
        tags: IOB2. An "I-" that continues no entity of its type begins one,
            as in CoNLL's conlleval (Tjong Kim Sang and De Meulder 2003,
            doi:10.3115/1119176.1119195, section 2).
        strict: whether it then belongs to none.
    Returns: type, first and last word of each.
    """
    found: list[Entity] = []
    open_type = None  # of the entity that the last word was in
    for place, tag in enumerate(tags):
        name = None if tag == OUTSIDE else tag[2:]
        if name is not None and name == open_type and tag.startswith("I"):
            found[-1] = (name, found[-1][1], place)
        elif name is not None and (tag.startswith("B") or not strict):
            found.append((name, place, place))
            open_type = name
        else:
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
