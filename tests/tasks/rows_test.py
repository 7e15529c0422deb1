# SPDX-License-Identifier: Apache-2.0
"""Rows of every task in two: to train on, and to score on."""

import pytest

from kbert.tasks import TaskSpec, inputs, rows

TEXTS = [f"the film was {i % 30}" for i in range(40)]  # ten of them twice
WORDS = [text.split() for text in TEXTS]

# By task: fields of its spec, texts and labels, each label its row's own.
CASES = {
    "classification": (
        {"labels": tuple(map(str, range(40)))},
        *(TEXTS, [str(i) for i in range(40)]),
    ),
    "regression": ({"num_texts": 2}, (TEXTS, TEXTS[::-1]), list(range(40))),
    "tagging": (
        {"labels": ("O", *(f"B-{i}" for i in range(40)))},
        *(WORDS, [["O", "O", "O", f"B-{i}"] for i in range(40)]),
    ),
    "question_answering": (
        {"settings": {"max_query_length": 6}, "num_texts": 2},
        (["film ?"] * 40, [f"{text} {i}" for i, text in enumerate(TEXTS)]),
        [
            {"text": [str(i)], "answer_start": [len(f"{text} ")]}
            for i, text in enumerate(TEXTS)
        ],
    ),
    "multiple_choice": (
        {"settings": {"num_choices": 40}},
        (TEXTS, [[str(i) for i in range(40)]] * 40),
        list(range(40)),
    ),
    "reranking": (
        {},
        (["film ?"] * 40, TEXTS),
        [i / 40 for i in range(40)],
    ),
    "summarization": (
        {},
        *(WORDS, [[i % 2, 0, 0, 1] for i in range(40)]),
    ),
}


@pytest.mark.parametrize("task", CASES)
def test_rows_and_their_labels_stay_together(task, task_of):
    fields, x, y = CASES[task]
    if task == "summarization":
        pytest.importorskip("rouge_score")
    made = task_of(TaskSpec(task=task, max_seq_length=32, **fields))
    all_rows = made.rows(x, y)
    parts = rows.split(all_rows, 0.4)
    whole, got = (
        [
            row
            for part in found
            for row in zip(*part.texts, made.labels(part), strict=True)
        ]
        for found in ([all_rows], parts)
    )
    assert sorted(got, key=str) == sorted(whole, key=str)
    assert got != whole  # they were taken out from among the others
    # About the share, and equal texts on one side.
    train, dev = ({*map(str, zip(*p.texts, strict=True))} for p in parts)
    assert not train & dev
    assert 0.1 < len(parts[1]) / 40 < 0.7
    # The rule is that of `fit`.
    for part, out in zip(parts, (False, True), strict=True):
        for texts in zip(*part.texts, strict=True):
            assert inputs.is_validation(texts, 0.4) is out


def test_a_list_that_was_not_read_stays_empty():
    from kbert.tasks.multiple_choice.data import Choices

    some = Choices("a.csv", [2, 3], ["a", "b"], [["c"], ["d"]], [])
    assert rows.take(some, [1]) == Choices("a.csv", [3], ["b"], [["d"]], [])


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (0.0, "^--dev_share=0: a.csv: needs more than 0, below 1.$"),
        (1.0, "^--dev_share=1: a.csv: needs more than 0, below 1.$"),
        (
            1e-9,
            "^--dev_share=1e-09: a.csv: of 2 rows 0 are for validation; "
            "needs some on both sides.$",
        ),
    ],
)
def test_shares_that_leave_a_side_empty(share, message):
    from kbert.data.tables import Rows

    with pytest.raises(ValueError, match=message):
        rows.split(Rows("a.csv", [2, 3], (["a", "b"],), ["x", "y"]), share)
