# SPDX-License-Identifier: Apache-2.0
"""Multiple choice through the commands: learnt by heart, scored, answered."""

import dataclasses
import json

import numpy as np
import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.tasks.multiple_choice.task import MultipleChoice
from kbert.tasks.rows import DataOptions

# The right ending has a "bad" in it.
ROWS = [
    ("the film was good", "bad", "good", 0),
    ("the film was bad", "good", "bad", 1),
    ("very good", "good", "bad", 1),
    ("not bad", "bad", "good", 0),
    ("was long good", "not bad", "very good", 0),
    ("was bad", "good film", "bad film", 1),
]
COLUMNS = ("--text_columns=sent1,sent2", "--choice_columns=ending0,ending1")


@pytest.fixture
def table(tmp_path):
    lines = ["sent1,sent2,ending0,ending1,label"]
    lines += [f"{a},the,{b},{c},{label}" for a, b, c, label in ROWS]
    path = tmp_path / "swag.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.slow
def test_six_rows_are_learnt_by_heart(
    call, table, tmp_path, tiny_config, vocabulary
):
    config = dataclasses.replace(tiny_config, num_hidden_layers=1)
    spec = tasks.TaskSpec(task="encoder", max_seq_length=24)
    folder.save(
        tmp_path / "init",
        tasks.build(config, spec),
        config=config,
        vocabulary=vocabulary,
        spec=spec,
    )
    call(
        "finetune",
        "--task=multiple_choice",
        f"--init={tmp_path}/init",
        f"--train={table}",
        *COLUMNS,
        f"--output_dir={tmp_path}/out",
        "--max_seq_length=16",
        "--batch_size=6",
        "--epochs=20",
        "--learning_rate=3e-2",
        "--schedule=constant",
        "--dropout=0",
    )
    model = tmp_path / "out/model"
    evaluate = ("evaluate", f"--model={model}", f"--input={table}")
    output = tmp_path / "scores.json"
    printed = call(*evaluate, *COLUMNS, f"--output={output}")
    scores = json.loads(output.read_text("utf-8"))
    assert scores == {"loss": pytest.approx(0, abs=0.1), "accuracy": 1}
    assert printed.startswith(
        f"{table}: 6 rows, 0 of them truncated\nloss: 0.0"
    )
    assert printed.endswith("\naccuracy: 1.0000\n")
    printed = call("predict", *evaluate[1:], *COLUMNS)
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["choice"] for row in rows] == [label for *_, label in ROWS]
    assert rows[1]["text"] == "the bad"
    lists = table.with_suffix(".jsonl")
    lists.write_text(
        "".join(
            json.dumps({"text": a, "ends": [f"the {b}", f"the {c}"]}) + "\n"
            for a, b, c, _ in ROWS
        )
    )
    columns = ("--text_columns=text", "--choice_columns=ends")
    assert printed == call(
        "predict", f"--model={model}", f"--input={lists}", *columns
    )
    three = f"{COLUMNS[1]},sent2"
    with pytest.raises(ValueError, match=r"swag.csv:2: 3 choices; the model t"):
        call(*evaluate, "--text_columns=sent1", three)


def test_dev_has_as_many_choices_as_train(call, tmp_path):
    """Else the model would be trained, and lost."""
    for name, choices in (("train", "yz"), ("dev", "yzx")):
        row = {"text": "x", "choices": list(choices), "label": 0}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"dev.jsonl:1: 3 choices; the mod"):
        call(
            "finetune",
            "--task=multiple_choice",
            f"--init={tmp_path}/none",
            f"--train={tmp_path}/train.jsonl",
            f"--dev={tmp_path}/dev.jsonl",
            *("--text_columns=text", "--choice_columns=choices"),
            f"--output_dir={tmp_path}/out",
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--text_columns=: needs 1 or 2 column names"),
        ({"text_columns": ["a"]}, "--choice_columns is missing: needs a col"),
        (
            {"text_columns": ["a", "b", "c"], "choice_columns": ["d", "e"]},
            "--text_columns=a,b,c: needs 1 or 2 column names",
        ),
    ],
)
def test_columns_that_are_missing(table, options, message):
    with pytest.raises(ValueError, match=message):
        MultipleChoice.read(str(table), DataOptions(**options))


def test_rows_are_scored_by_their_right_choice(table, task_of):
    data = DataOptions(
        text_columns=["sent1"], choice_columns=["ending0", "ending1"]
    )
    rows = MultipleChoice.read(str(table), data)
    spec = MultipleChoice.new_spec(rows, data)
    assert spec.settings.num_choices == 2
    numbers = np.linspace(0, 1, len(rows)).tolist()
    answers = [
        {"choice": int(x > 0.5), "probabilities": [1 - x, x]} for x in numbers
    ]
    # Labels 0 1 1 0 0 1; the choices 0 0 0 1 1 1.
    task = task_of(spec)
    assert task.scores(answers, rows) == {"accuracy": 2 / 6}
    want = [1, 0.2, 0.4, 0.4, 0.2, 1]
    assert task.row_scores(answers, rows) == pytest.approx(want)
    assert task.labels(rows)[:3] == [0, 1, 1]
