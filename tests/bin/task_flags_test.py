# SPDX-License-Identifier: Apache-2.0
"""Flags of kbert-finetune that become the settings of a task's model."""

import json

import pytest

from kbert.runs import finetuning

SQUAD = [
    {
        "id": 1,
        "question": "Who?",
        "context": "Ada wrote it.",
        "answers": {"text": ["Ada"], "answer_start": [0]},
    }
]
TABLE = "text\tlabel\ngood\ta|b\nbad\tb\n"


@pytest.mark.parametrize(
    ("task", "name", "text", "settings"),
    [
        (
            "question_answering",
            "a.json",
            json.dumps(SQUAD),
            {
                "stride": 3,
                "max_query_length": 8,
                "max_answer_length": 7,
                "whole_word_answers": False,
            },
        ),
        (
            "tagging",
            "a.conll",
            "Ada B-per\n",
            {"stride": 3, "aggregation": "joined"},
        ),
        (
            "classification",
            "a.tsv",
            TABLE,
            {"multi_label": True, "threshold": 0.25},
        ),
    ],
)
def test_settings_are_those_of_the_flags(
    task, name, text, settings, call, tmp_path, monkeypatch
):
    found = []
    monkeypatch.setattr(
        finetuning,
        "finetune",
        lambda spec, **_: found.append(spec.settings),
    )
    path = tmp_path / name
    path.write_text(text)
    columns = ["--text_columns=text"] if name == "a.tsv" else []
    call(
        "finetune",
        f"--task={task}",
        f"--train={path}",
        *("--init=never", "--output_dir=never", *columns),
        *(f"--{name}={value}" for name, value in settings.items()),
    )
    (made,) = found
    assert {name: getattr(made, name) for name in settings} == settings
