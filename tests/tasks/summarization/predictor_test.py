# SPDX-License-Identifier: Apache-2.0
"""Sentences in, the best of them out, whatever the document's length."""

import numpy as np
import pytest

from kbert.tasks import TaskSpec

DOCUMENTS = [
    ["The film was good.", "Not very long.", "bad bad", "the film"],
    ["good"],
    ["very " * 30, "was", "", "not good", "  ", "longer film.", "bad"],
    [],
    ["", ""],
]


@pytest.fixture(scope="module")
def made():
    """What was made for the first test, for the next ones too."""
    return {}


@pytest.fixture
def server(made, serve):
    if not made:
        spec = TaskSpec(
            task="summarization",
            max_seq_length=12,
            settings={"num_sentences": 2},
        )
        made["server"] = serve(spec)
    return made["server"]


def test_rows_alone_and_together(server):
    together = server.predict(DOCUMENTS)
    for document, row in zip(DOCUMENTS, together, strict=True):
        (alone,) = server.predict([document])
        assert alone["scores"] == pytest.approx(row["scores"], abs=1e-5)
        assert alone["sentences"] == row["sentences"]
        assert len(row["scores"]) == len(document)
        ranked = sorted(
            (i for i, text in enumerate(document) if text.strip()),
            key=lambda i: -row["scores"][i],
        )
        assert row["sentences"] == sorted(ranked[:2])
        assert row["summary"] == [document[i] for i in row["sentences"]]
        for score, text in zip(row["scores"], document, strict=True):
            assert (score > 0) == bool(text.strip())
    assert np.ptp(together[0]["scores"]) > 0.02
    assert together[3] == {"summary": [], "sentences": [], "scores": []}


def test_empty_strings_make_no_difference(server):
    texts = DOCUMENTS[0]
    (want,) = server.predict([texts])
    (got,) = server.predict([["", texts[0], " ", *texts[1:], ""]])
    scores = [0, want["scores"][0], 0, *want["scores"][1:], 0]
    assert got["scores"] == pytest.approx(scores, abs=1e-6)
    assert got["summary"] == want["summary"]


def test_scores_are_the_models_for_the_tokens(server):
    """8, 6 and 5 tokens: the second sentence has no room in the first row."""
    (row,) = server.predict(
        [["The film was good.", "Not very long.", "bad bad bad"]]
    )
    logits = server._model(
        {
            "token_ids": np.array(
                [
                    [2, 5, 6, 7, 8, 14, 3, 0, 0, 0, 0],
                    [2, 10, 11, 12, 14, 3, 2, 9, 9, 9, 3],
                ]
            ),
            "segment_ids": np.array([[0] * 11, [0] * 6 + [1] * 5]),
            "padding_mask": np.array([[1] * 7 + [0] * 4, [1] * 11]),
            "sentence_positions": np.array([[0, 0], [0, 6]]),
        }
    )["logits"].numpy()
    want = 1 / (1 + np.exp(-logits[[0, 1, 1], [0, 0, 1]]))
    np.testing.assert_allclose(row["scores"], want, rtol=1e-4)


def test_bytes_that_are_not_utf8_can_be_written(server):
    (row,) = server.predict([[b"good \xff", "\ud800"]])
    assert row["summary"] == ["good \ufffd", "\ufffd" * 3]
