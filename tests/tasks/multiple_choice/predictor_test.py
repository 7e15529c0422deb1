# SPDX-License-Identifier: Apache-2.0
"""A text and its choices in, the best one out."""

import numpy as np
import pytest

from kbert.tasks import TaskSpec

TEXTS = ["The film", "", "bad " * 30, "not good"]
CHOICES = [
    ["was good.", "was bad.", "was longer " * 9],
    ["", "the film", "not"],
    ["very", "very very", "good bad not very long"],
    ["long", "long", "longer"],
]


@pytest.fixture(scope="module")
def made():
    """What was made for the first test, for the next ones too."""
    return {}


@pytest.fixture
def server(made, serve):
    if not made:
        spec = TaskSpec(
            task="multiple_choice",
            max_seq_length=12,
            settings={"num_choices": 3},
        )
        made["server"] = serve(spec)
    return made["server"]


def _probabilities(rows):
    return np.array([row["probabilities"] for row in rows])


def test_rows_alone_and_together(server):
    together = server.predict(TEXTS, CHOICES)
    alone = [
        server.predict([text], [choices])[0]
        for text, choices in zip(TEXTS, CHOICES, strict=True)
    ]
    want = _probabilities(together)
    np.testing.assert_allclose(_probabilities(alone), want, atol=1e-5)
    np.testing.assert_allclose(want.sum(1), 1, rtol=1e-5)
    assert np.ptp(want, axis=1).max() > 0.02
    assert [row["choice"] for row in together] == want.argmax(1).tolist()
    for row, choices in zip(together, CHOICES, strict=True):
        assert row["text"] == choices[row["choice"]]
    # Equal choices have equal scores; others move with their positions.
    assert want[3, 0] == pytest.approx(want[3, 1], abs=1e-6)
    turned = server.predict(TEXTS[:1], [CHOICES[0][::-1]])
    np.testing.assert_allclose(
        _probabilities(turned)[0], want[0, ::-1], atol=1e-5
    )
    assert server.predict([], []) == []


def test_answers_are_the_models_for_the_tokens(server):
    (row,) = server.predict(["The film"], [["was good.", "bad", ""]])
    logits = server._model(
        {
            "token_ids": np.array(
                [
                    [
                        [2, 5, 6, 3, 7, 8, 14, 3],
                        [2, 5, 6, 3, 9, 3, 0, 0],
                        [2, 5, 6, 3, 3, 0, 0, 0],
                    ]
                ]
            ),
            "segment_ids": np.array(
                [
                    [
                        [0, 0, 0, 0, 1, 1, 1, 1],
                        [0, 0, 0, 0, 1, 1, 0, 0],
                        [0, 0, 0, 0, 1, 0, 0, 0],
                    ]
                ]
            ),
            "padding_mask": np.array(
                [[[1] * 8, [1] * 6 + [0] * 2, [1] * 5 + [0] * 3]]
            ),
        }
    )["logits"].numpy()[0]
    want = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(row["probabilities"], want, rtol=1e-4)


def test_another_number_of_choices_is_named(server):
    message = "Text 2: 2 choices; this model takes 3"
    with pytest.raises(ValueError, match=message):
        server.predict(TEXTS[:2], [CHOICES[0], CHOICES[1][:2]])
    with pytest.raises(ValueError, match="needs a list"):
        server.predict(TEXTS[:1], ["abc"])


def test_bytes_that_are_not_utf8_can_be_written(server):
    (row,) = server.predict(
        [b"\xff"], [[b"good \xff", b"good \xff"] * 1 + [""]]
    )
    assert row["text"] in ("good \ufffd", "")
