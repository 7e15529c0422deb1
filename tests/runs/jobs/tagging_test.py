# SPDX-License-Identifier: Apache-2.0
"""Tagging through the commands: learnt, scored, predicted and refused."""

import dataclasses
import json

import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.runs.jobs.job import JobOptions
from kbert.runs.jobs.tagging import TaggingJob
from kbert.tasks import TaskSpec

# IOB1; "long" and "longer" begin with one piece. The last is longer than a
# row of 8 tokens.
FILE = """\
-DOCSTART- -X- O

the DT O
film NN I-x
was VBD O
good JJ I-y

longer JJ I-y
film NN I-x
film NN I-x
. . O

the DT O
the DT O
bad JJ I-y
film NN I-x
was VBD O
very RB O
good JJ I-y
longer JJ I-y
. . O
"""


@pytest.fixture
def job():
    return TaggingJob(JobOptions(max_seq_length=8, settings={"stride": 2}))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "train.conll"
    path.write_text(FILE, "utf-8")
    return str(path)


def test_from_a_file_to_entities(
    call, tmp_path, path, tiny_config, vocabulary, job
):
    config = dataclasses.replace(tiny_config, num_hidden_layers=1)
    init = TaskSpec(task="encoder", max_seq_length=16)
    folder.save(
        tmp_path / "init",
        tasks.build(config, init),
        config=config,
        vocabulary=vocabulary,
        spec=init,
    )
    printed = call(
        "finetune",
        "--task=tagging",
        f"--init={tmp_path}/init",
        f"--train={path}",
        f"--output_dir={tmp_path}/out",
        "--max_seq_length=8",
        "--stride=2",
        "--batch_size=4",
        "--epochs=40",
        "--learning_rate=1e-2",
        "--schedule=constant",
        "--dropout=0",
    )
    assert f"{path}: 3 rows, 0 of them cut" in printed
    spec = json.loads((tmp_path / "out/model/task.json").read_text("utf-8"))
    assert spec["labels"] == ["O", "B-x", "I-x", "B-y", "I-y"]
    assert spec["settings"] == {"stride": 2}

    model = f"--model={tmp_path}/out/model"
    file = tmp_path / "scores.json"
    call("evaluate", model, f"--input={path}", f"--output={file}")
    scores = json.loads(file.read_text("utf-8"))
    names = ("precision", "recall", "f1")
    perfect = {f"{p}{n}": 1.0 for p in ("", "strict_") for n in names}
    assert {name: scores[name] for name in perfect} == perfect
    predicted = call("predict", model, "--text=The film, was good.")
    answer = json.loads(predicted)
    found = [(e["type"], e["text"], e["start"]) for e in answer["entities"]]
    assert ("x", "film", 4) in found

    # Words as files part them, and each of the scores of its own.
    rows = job.read(path)
    answers = [{"tags": tags} for tags in rows.tags]
    answers[1] = {"tags": ["B-y", "B-x", "O", "O"]}
    assert job.row_scores(answers, rows, None) == [1, 0.75, 1]
    report = job.class_report(answers, rows, None)
    assert report["x"] == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "rows": 3,
    }
    assert report["y"]["f1"] == 1 and report["y"]["rows"] == 4
    assert job.wanted(rows, 1) == ["B-y", "B-x", "I-x", "O"]


def test_what_is_refused(job, path, tmp_path, vocabulary, call):
    spec = job.spec(job.read(path))
    assert spec.labels == ("O", "B-x", "I-x", "B-y", "I-y")
    other = tmp_path / "other.conll"
    other.write_text("the O\nfilm B-z\n", "utf-8")
    with pytest.raises(ValueError, match=r"other\.conll:2: tag 'B-z' is not"):
        job.examples(job.read(str(other)), spec, vocabulary)
    other.write_text("the O\nfilm O\n", "utf-8")
    with pytest.raises(ValueError, match=r"other\.conll: the only tag is 'O'"):
        job.spec(job.read(str(other)))
    with pytest.raises(ValueError, match="stride is 0; wanted a whole number"):
        TaggingJob(JobOptions(settings={"stride": 0})).spec(job.read(path))
