# SPDX-License-Identifier: Apache-2.0
"""Question answering through the commands, from SQuAD's JSON to answers."""

import json

import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.tasks import TaskSpec

FIRST = "bad film . not good . " + "the was " * 11 + "longer good ."
SECOND = "the very . " * 7 + "long film " + "was . " * 5
ROWS = [
    ("film ?", FIRST, "bad film"),
    ("good ?", FIRST, "not good"),
    ("very ?", FIRST, "longer"),
    ("film ?", SECOND, "long film"),
    ("bad ?", SECOND, ""),
    ("not ?", SECOND, ""),
]


def _squad(rows):
    """As SQuAD 2.0 has them."""
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": str(i),
                    "question": question,
                    "answers": [
                        {"text": text, "answer_start": context.index(text)}
                    ]
                    if text
                    else [],
                    "is_impossible": not text,
                }
            ],
        }
        for i, (question, context, text) in enumerate(rows)
    ]
    return {"version": "v2.0", "data": [{"paragraphs": paragraphs}]}


@pytest.fixture
def finetune(tmp_path, tiny_config, vocabulary, call):
    """A function that trains on some rows until it knows them."""
    spec = TaskSpec(task="encoder", max_seq_length=16)
    folder.save(
        tmp_path / "init",
        tasks.build(tiny_config, spec),
        config=tiny_config,
        vocabulary=vocabulary,
        spec=spec,
    )
    squad = tmp_path / "squad.json"

    def finetune(tree, *flags):
        squad.write_text(json.dumps(tree), "utf-8")
        return call(
            "finetune",
            "--task=question_answering",
            f"--init={tmp_path}/init",
            f"--train={squad}",
            f"--dev={squad}",
            f"--output_dir={tmp_path}/out",
            "--max_seq_length=16",
            "--max_query_length=4",
            "--stride=5",
            "--batch_size=16",
            "--schedule=constant",
            "--dropout=0",
            *flags,
        )

    return finetune


def _task(path):
    return json.loads((path / "model/task.json").read_text("utf-8"))


def test_a_handful_of_questions_is_learnt(finetune, call, tmp_path):
    """To exact match 1 with windows; the threshold is tuned and kept."""
    printed = finetune(
        _squad(ROWS), "--epochs=40", "--learning_rate=1e-2", "--log_every=60"
    )
    assert "6 rows, 0 of them cut" in printed
    out = tmp_path / "out"
    scores = json.loads((out / "evaluation.json").read_text("utf-8"))
    for name in ("exact_match", "f1", "has_answer_f1", "no_answer_f1"):
        assert scores[name] == 1, name
    settings = _task(out)["settings"]
    assert settings["threshold"] == scores["best_f1_threshold"] != 0
    assert (settings["stride"], settings["no_answer"]) == (5, True)

    call(
        "evaluate",
        f"--model={out}/model",
        f"--input={tmp_path}/squad.json",
        f"--output={tmp_path}/scores.json",
    )
    again = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert again.keys() == scores.keys() - {"best"}
    assert again == pytest.approx({k: scores[k] for k in again}, abs=1e-5)

    table = tmp_path / "table.jsonl"
    table.write_text(
        "".join(
            json.dumps({"q": question, "c": context}) + "\n"
            for question, context, _ in ROWS
        )
    )
    flags = f"--input={table}", "--text_columns=q,c"
    lines = call("predict", f"--model={out}/model", *flags).splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["answer"] for answer in answers] == [x for *_, x in ROWS]
    for answer, (_, context, text) in zip(answers, ROWS, strict=True):
        assert context[answer["start"] : answer["end"]] == text


def test_a_given_threshold_stays(finetune, tmp_path):
    finetune(_squad(ROWS), "--epochs=1", "--threshold=-1.5")
    assert _task(tmp_path / "out")["settings"]["threshold"] == -1.5


def test_several_answers_and_answers_that_stand_elsewhere(finetune, tmp_path):
    tree = _squad(ROWS[:1] * 150)
    paragraphs = tree["data"][0]["paragraphs"]
    for paragraph in paragraphs:
        paragraph["qas"][0]["answers"].append(
            {"text": "longer", "answer_start": FIRST.index("longer")}
        )
    paragraphs[3]["qas"][0]["answers"][0]["answer_start"] += 1
    printed = finetune(tree, "--epochs=1", "--several_answers")
    assert "1 answers do not stand at their answer_start; left out" in printed
    scores = json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))
    assert scores.keys() == {"loss", "exact_match", "f1"}
    settings = _task(tmp_path / "out")["settings"]
    assert (settings["several_answers"], settings["threshold"]) == (True, 0.5)


def test_what_a_table_has_is_not_asked_for(finetune):
    with pytest.raises(ValueError, match="--text_columns=a: SQuAD's JSON"):
        finetune(_squad(ROWS), "--text_columns=a")
    with pytest.raises(ValueError, match="squad.json: no 'data'"):
        finetune({"version": "1.1"})
