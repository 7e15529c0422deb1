# SPDX-License-Identifier: Apache-2.0
"""A query and any number of texts in, their scores and their order out."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.tasks import TaskSpec

QUERIES = ["was the film good ?", "bad", "", "long"]
TEXTS = [
    ["The film was very good.", "not", "bad bad film", ""],
    ["good"],
    [f"film {'very ' * i}" for i in range(40)],
    [],
]


@pytest.fixture(scope="module")
def made():
    """What was made for the first test, for the next ones too."""
    return {}


@pytest.fixture
def server(made, serve):
    if not made:
        spec = TaskSpec(task="reranking", max_seq_length=14)
        made["server"] = serve(spec)
    return made["server"]


def test_rows_alone_and_together(server):
    together = server.predict(QUERIES, TEXTS)
    for query, texts, row in zip(QUERIES, TEXTS, together, strict=True):
        (alone,) = server.predict([query], [texts])
        assert alone["scores"] == pytest.approx(row["scores"], abs=1e-5)
        assert len(row["scores"]) == len(row["order"]) == len(texts)
        assert all(0 < score < 1 for score in row["scores"])
    assert together[3] == {"scores": [], "order": []}
    assert np.ptp(together[0]["scores"]) > 0.02
    by_score = np.argsort(-np.array(together[0]["scores"]))
    assert together[0]["order"] == by_score.tolist()
    # One that is truncated is the same as the next.
    assert together[2]["scores"][38:] == pytest.approx(
        [together[2]["scores"][38]] * 2
    )


def test_scores_are_the_models_for_the_pairs(server):
    (row,) = server.predict(["the film"], [["was bad", "good"]])
    rows = {
        "token_ids": [[2, 5, 6, 3, 7, 9, 3], [2, 5, 6, 3, 8, 3, 0]],
        "segment_ids": [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 0]],
        "padding_mask": [[1] * 7, [1] * 6 + [0]],
    }
    inputs = {name: np.array([value]) for name, value in rows.items()}
    logits = server._model(inputs)["logits"].numpy()[0]
    want = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(row["scores"], want, rtol=1e-5)


def test_the_order_is_that_of_the_logits(made, build, serve, vocabulary):
    """High ones have the same sigmoid; equal ones keep their order."""
    from kbert.tasks.predictor import make_predictor

    for activation in ("sigmoid", "none"):
        spec = TaskSpec(
            task="reranking",
            max_seq_length=14,
            settings={"activation": activation},
        )
        model = build(spec)
        kernel, bias = model.get_layer("regressor").get_weights()
        model.get_layer("regressor").set_weights([kernel, bias + 200])
        server = make_predictor(model, vocabulary=vocabulary, spec=spec)
        texts = ["bad", "good", "not long", "bad", "the film was ."]
        (row,) = server.predict(["film"], [texts])
        if activation == "sigmoid":
            assert set(row["scores"]) == {1.0}
            order = row["order"]
        else:
            assert len({*row["scores"]}) == 4 and min(row["scores"]) > 150
            assert row["order"] == order
            assert (
                row["order"]
                == np.argsort(-np.array(row["scores"]), kind="stable").tolist()
            )
    assert order.index(3) == order.index(0) + 1
    assert order != sorted(order)


def test_a_row_may_have_one_text(server):
    (want,) = server.predict(["bad"], [["good"]])
    assert server.predict(["bad"], ["good"]) == [want]
    found = server.predict(["bad"] * 2, [["good"], "good"])
    assert [row["scores"] for row in found] == [
        pytest.approx(want["scores"], abs=1e-5)
    ] * 2


def test_what_follows_the_count_is_not_read(server):
    graph = server.signatures()["rerank"]
    assert [*server.signatures()] == ["serving_default", "rerank"]
    texts = [["bad", "good", "long"], ["good", "film", "not"]]
    found = [
        graph(
            query=tf.constant(["film", "was"]),
            texts=tf.constant(texts),
            num_texts=tf.constant([1, 3]),
        )
    ]
    texts[0][1:] = ["very", "\xff"]
    found.append(
        graph(
            query=tf.constant(["film", "was"]),
            texts=tf.constant(texts),
            num_texts=tf.constant([1, 3]),
        )
    )
    for got in found:
        np.testing.assert_array_equal(got["order"][0], [0, -1, -1])
        np.testing.assert_array_equal(got["scores"][0, 1:], [0, 0])
        assert sorted(got["order"][1].numpy().tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(found[0]["scores"], found[1]["scores"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((["a"],), "Got 1 lists of texts; this model takes 2: query, texts"),
        ((["a"], [["b"], ["c"]]), "Got 1 and 2 texts; needs as many of each"),
        ((["a"], [[None]]), r"Text 1: texts is \[None\]; needs a list of tex"),
        ((["a"], "b"), "Got the text 'b'; needs a list"),
        (([["a"]], [["b"]]), r"Text 1: query is \['a'\]; needs a text"),
    ],
)
def test_wrong_texts_are_named(server, columns, message):
    with pytest.raises(ValueError, match=message):
        server.predict(*columns)
