# SPDX-License-Identifier: Apache-2.0
"""Tags to entities and their scores: seqeval's, and cases by hand."""

import random

import numpy as np
import pytest

from kbert.tasks import TaskSpec
from kbert.tasks.tagging import head, metrics
from kbert.tasks.tagging.settings import Settings

TYPES = ("LOC", "PER", "creative-work")


def random_tags(rows, seed):
    """Many sentences, most of them not legal in IOB2."""
    draw = random.Random(seed)
    labels = head.labels_of(TYPES)
    return [
        draw.choices(labels, [3] + [1] * 6, k=draw.randrange(12))
        for _ in range(rows)
    ]


def altered(rows, seed):
    """The same, every fourth tag another one."""
    draw = random.Random(seed)
    labels = head.labels_of(TYPES)
    return [
        [draw.choice(labels) if draw.random() < 0.25 else t for t in row]
        for row in rows
    ]


@pytest.mark.parametrize(
    ("tags", "tolerant", "strict"),
    [
        ("", [], []),
        ("O B-x I-x I-x O", [("x", 1, 3)], [("x", 1, 3)]),
        ("B-x B-x", [("x", 0, 0), ("x", 1, 1)], [("x", 0, 0), ("x", 1, 1)]),
        ("I-x I-x O I-y", [("x", 0, 1), ("y", 3, 3)], []),
        ("B-x I-y I-y", [("x", 0, 0), ("y", 1, 2)], [("x", 0, 0)]),
        ("B-x O I-x", [("x", 0, 0), ("x", 2, 2)], [("x", 0, 0)]),
    ],
)
def test_entities_by_hand(tags, tolerant, strict):
    assert metrics.entities(tags.split()) == tolerant
    assert metrics.entities(tags.split(), strict=True) == strict


def test_scores_are_those_of_seqeval():
    pytest.importorskip("seqeval")
    from seqeval.metrics import f1_score, precision_score, recall_score
    from seqeval.metrics.sequence_labeling import (
        get_entities,
        precision_recall_fscore_support,
    )
    from seqeval.scheme import IOB2, Entities

    references = random_tags(4000, 1)
    predicted = altered(references, 2)
    for row in references:
        assert metrics.entities(row) == get_entities(row)
        (strict,) = Entities([row], IOB2).entities
        got = metrics.entities(row, strict=True)
        assert got == [(e.tag, e.start, e.end - 1) for e in strict]
    for rows in (slice(0, 4000), slice(0, 5), slice(7, 8)):
        pair = references[rows], predicted[rows]
        got = metrics.scores(pair[1], pair[0])
        for prefix, options in (
            ("", {}),
            ("strict_", {"mode": "strict", "scheme": IOB2}),
        ):
            for name, score in (
                ("precision", precision_score),
                ("recall", recall_score),
                ("f1", f1_score),
            ):
                want = score(*pair, zero_division=0, **options)
                assert got[prefix + name] == pytest.approx(want, rel=1e-12)
    assert got["f1"] != got["strict_f1"]
    report = metrics.class_report(predicted, references)
    by_type = precision_recall_fscore_support(
        references, predicted, average=None
    )
    assert list(report) == list(TYPES)
    for numbers, want in zip(
        report.values(), np.stack(by_type, 1), strict=True
    ):
        assert list(numbers.values()) == pytest.approx(want)


def test_no_entities_score_nothing():
    scores = metrics.scores([["O"], []], [["O"], []])
    assert set(scores.values()) == {0.0}
    assert len(scores) == 6
    assert metrics.class_report([["O"]], [["O"]]) == {}


def test_bounds_in_the_graph_are_the_entities():
    labels = head.labels_of(TYPES)
    rows = random_tags(500, 3)
    width = max(map(len, rows))
    tags = [[labels.index(t) for t in r] + [0] * (width - len(r)) for r in rows]
    types, first, last = map(
        np.array,
        head.entity_bounds(np.array(tags, np.int32), head.label_table(labels)),
    )
    for row, kinds, *bounds in zip(rows, types, first, last, strict=True):
        want = metrics.entities(row)
        inside = [0] * width
        for name, start, end in want:
            positions = range(start, end + 1)
            inside[start : end + 1] = [1 + TYPES.index(name) for _ in positions]
        assert kinds.tolist() == inside
        positions = [np.flatnonzero(x).tolist() for x in bounds]
        assert positions == [[e[1] for e in want], [e[2] for e in want]]


def test_decoding_by_hand():
    logits = np.log([[[0.2, 0.5, 0.3], [0.9, 0.1, 0.0001]]])
    tags, probabilities = head.decode(logits.astype("float32"))
    assert np.array(tags).tolist() == [[1, 0]]
    want = [[0.5, 0.9 / 1.0001]]
    np.testing.assert_allclose(np.array(probabilities), want, rtol=1e-5)


@pytest.mark.slow
def test_labels_in_any_order_and_of_any_scheme():
    """BIOES, BILOU and BMES as seqeval reads them, in the graph and outside."""
    sequence_labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    for last, single, middle in ("ESI", "LUI", "ESM"):
        labels = [f"{x}-{name}" for name in "xy" for x in (last, "B", single)]
        labels += ["O", f"{middle}-y", f"{middle}-x"]
        table = head.label_table(labels)
        assert (table.types, table.classes) == (("x", "y"), False)
        draw = random.Random(4)
        for _ in range(200):
            row = draw.choices(labels, k=9)
            as_bioes = [
                {"L": "E", "U": "S", "M": "I"}.get(t[0], t[0]) + t[1:]
                for t in row
            ]
            want = sequence_labeling.get_entities(as_bioes)
            assert metrics.entities(row) == want
            ids = np.array([[labels.index(tag) for tag in row]], np.int32)
            bounds = head.entity_bounds(ids, table)[1:]
            first, last_words = (np.flatnonzero(x[0]).tolist() for x in bounds)
            assert first == [e[1] for e in want]
            assert last_words == [e[2] for e in want]


def test_classes_of_words_are_no_entities():
    assert head.mark_entities(head.labels_of(("x", "a-b")))
    for labels in (("NN", "VB"), ("O", "PER"), ("O", "B-x", "I-")):
        assert not head.mark_entities(labels)
    tags = np.array([[0, 1, 1, -1], [2, 2, 0, 0]], np.int32)

    def found(aggregation):
        table = head.label_table(("O", "x", "y"), aggregation)
        types, *bounds = head.entity_bounds(tags, table)
        names = np.array(["", *table.types])[np.array(types)]
        return names.tolist(), *(np.array(x, int).tolist() for x in bounds)

    every = [[1, 1, 1, 0], [1, 1, 1, 1]]
    names = [["O", "x", "x", ""], ["y", "y", "O", "O"]]
    assert found("first") == (names, every, every)
    for aggregation in ("simple", "joined"):
        assert found(aggregation) == (
            [["", "x", "x", ""], ["y", "y", "", ""]],
            [[0, 1, 0, 0], [1, 0, 0, 0]],
            [[0, 0, 1, 0], [0, 1, 0, 0]],
        )


def test_scores_of_classes_by_hand():
    found, gold = [["a", "a"], ["b"]], [["a", "b"], ["b"]]
    want = {"accuracy": 2 / 3, "macro_f1": 2 / 3}
    assert metrics.word_scores(found, gold) == pytest.approx(want)
    report = metrics.word_class_report(found, gold)
    assert {name: [*x.values()] for name, x in report.items()} == {
        "a": pytest.approx([1 / 2, 1, 2 / 3, 1]),
        "b": pytest.approx([1, 1 / 2, 2 / 3, 2]),
    }
    assert metrics.word_scores([["a", "a"]], [["a", "b"]]) == {
        "accuracy": 0.5,
        "macro_f1": pytest.approx(1 / 3),  # of b: 0
    }


def test_the_model_and_its_settings(tiny_config, batch):
    model = head.build_tagger(tiny_config, num_tags=5)
    inputs = {name: batch[name] for name in model.input}
    logits = model(inputs)["logits"].numpy()
    assert logits.shape == (3, 8, 5)
    assert np.ptp(logits, axis=1).min() > 0  # each token has its own
    with pytest.raises(ValueError, match="num_tags is 1; needs 2 or more"):
        head.build_tagger(tiny_config, num_tags=1)
    spec = TaskSpec(
        task="tagging",
        max_seq_length=9,
        labels=("O", "B-x", "I-x"),
        settings={"stride": 3},
    )
    assert spec.settings == Settings(stride=3)
    with pytest.raises(ValueError, match="aggregation is 'max'; expected one"):
        Settings(aggregation="max")
    for stride in (0, 2.0, True):
        with pytest.raises(ValueError, match="stride is .*; needs"):
            Settings(stride=stride)
