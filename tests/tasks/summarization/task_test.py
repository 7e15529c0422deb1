# SPDX-License-Identifier: Apache-2.0
"""Extractive summaries through the commands: learnt by heart and scored."""

import dataclasses
import json
import sys

import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.tasks.rows import DataOptions
from kbert.tasks.summarization.task import Summarizer

# Of the summary is what is good; the second document takes two rows.
DOCUMENTS = [
    ["the film was good .", "not long", "was bad"],
    ["very bad .", "was bad film", "good film", "long film not", "very good"],
    ["bad", "longer", "good good", "", "good"],
]


@pytest.fixture
def file(tmp_path):
    lines = [
        json.dumps(
            {"sentences": x, "labels": [int("good" in text) for text in x]}
        )
        for x in DOCUMENTS
    ]
    path = tmp_path / "news.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.slow
def test_three_documents_are_learnt_by_heart(
    call, file, tmp_path, tiny_config, vocabulary
):
    pytest.importorskip("rouge_score")
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
        "--task=summarization",
        f"--init={tmp_path}/init",
        f"--train={file}",
        f"--output_dir={tmp_path}/out",
        "--max_seq_length=16",
        "--num_sentences=2",
        "--batch_size=5",
        "--epochs=30",
        "--learning_rate=3e-2",
        "--schedule=constant",
        "--dropout=0",
    )
    model, output = tmp_path / "out/model", tmp_path / "scores.json"
    printed = call(
        "evaluate", f"--model={model}", f"--input={file}", f"--output={output}"
    )
    scores = json.loads(output.read_text("utf-8"))
    assert scores["loss"] < 0.1
    # The first document has one sentence of the summary, and two are chosen.
    assert scores["precision"] == 5 / 6
    assert 0.9 < scores["rouge_l"] < 1
    assert printed.startswith(f"{file}: 3 rows, 0 of them truncated\nloss: ")
    assert f"rouge l: {scores['rouge_l']:.4f}\nprecision: 0.8333\n" in printed
    answers = call(
        "predict",
        f"--model={model}",
        f"--input={file}",
        "--text_columns=sentences",
    )
    _, row, other = map(json.loads, answers.splitlines())
    assert row["sentences"] == [2, 4]
    assert row["summary"] == ["good film", "very good"]
    assert other["sentences"] == [2, 4]


def test_the_library_is_required_before_anything_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    with pytest.raises(ValueError, match=r"install kbert-keras\[rouge\]"):
        Summarizer.read("none.jsonl", DataOptions())


def test_columns_are_not_of_this_task():
    message = "--text_columns: not of --task=summarization"
    with pytest.raises(ValueError, match=message):
        Summarizer.read("none.jsonl", DataOptions(text_columns=["text"]))


def test_one_label_alone_is_refused(tmp_path):
    pytest.importorskip("rouge_score")
    path = tmp_path / "news.jsonl"
    path.write_text('{"sentences": ["a", "b"], "labels": [1, 1]}', "utf-8")
    data = DataOptions()
    with pytest.raises(ValueError, match=r"news\.jsonl: the only label is 1"):
        Summarizer.new_spec(Summarizer.read(str(path), data), data)


def test_scores_are_those_of_the_predictions(file, task_of):
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    data = DataOptions(settings={"num_sentences": 1})
    rows = Summarizer.read(str(file), data)
    task = task_of(Summarizer.new_spec(rows, data))
    assert task.spec.settings.num_sentences == 1
    answers = [
        {"summary": [DOCUMENTS[row][index]], "sentences": [index]}
        for row, index in enumerate([0, 3, 2])
    ]
    theirs = rouge_scorer.RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    texts = ["the film was good .", "good film very good", "good good good"]
    want = [
        theirs.score(gold, answer["summary"][0])
        for gold, answer in zip(texts, answers, strict=True)
    ]
    found = task.scores(answers, rows)
    assert found["precision"] == pytest.approx(2 / 3)
    mean = sum(row["rouge1"].fmeasure for row in want) / 3
    assert found["rouge_1"] == pytest.approx(mean) and 0.4 < mean < 1
    by_row = [row["rougeL"].fmeasure for row in want]
    assert task.row_scores(answers, rows) == by_row
    assert task.labels(rows)[1] == {
        "summary": "good film very good",
        "sentences": [2, 4],
    }
