# SPDX-License-Identifier: Apache-2.0
"""Question answering through the commands, from SQuAD's JSON to answers."""

import dataclasses
import json

import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.tasks import TaskSpec
from kbert.tasks.question_answering.task import QuestionAnswerer
from kbert.tasks.rows import DataOptions

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
    config = dataclasses.replace(tiny_config, num_hidden_layers=1)
    folder.save(
        tmp_path / "init",
        tasks.build(config, spec),
        config=config,
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


@pytest.mark.slow
def test_a_handful_of_questions_is_learnt(finetune, call, tmp_path):
    """To exact match 1 with windows; the threshold is tuned and kept."""
    printed = finetune(
        _squad(ROWS), "--epochs=40", "--learning_rate=1e-2", "--log_every=60"
    )
    assert "6 rows, 0 of them truncated" in printed
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
    of_the_run = {"best", "input", "kept", "last", "metric", "step"}
    assert again.keys() == scores.keys() - of_the_run
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


@pytest.fixture
def read(tmp_path, task_of):
    """A function of a tree and settings: a task of its rows, and the rows."""

    def read(tree, **settings):
        path = tmp_path / "squad.json"
        path.write_text(json.dumps(tree), "utf-8")
        data = DataOptions(max_seq_length=96, settings=settings)
        rows = QuestionAnswerer.read(str(path), data)
        return task_of(QuestionAnswerer.new_spec(rows, data)), rows

    return read


def _answer(text, no_answer_score=0.0):
    answers = [{"text": text}] if text else []
    return {
        "answer": text,
        "no_answer_score": no_answer_score,
        "answers": answers,
    }


def test_the_threshold_is_that_of_the_best_f1(read):
    task, rows = read(_squad(ROWS[3:]))
    assert task.spec.settings.no_answer and task.spec.settings.stride == 32
    answers = [
        _answer("long film", 2.0),
        _answer("very", 2.5),
        _answer("very", 5.0),
    ]
    tuned = task.tuned(answers, rows, DataOptions()).spec
    assert tuned == task.spec.with_settings(threshold=2.25)
    scores = task.scores(answers, rows)
    assert (scores["f1"], scores["best_f1"]) == (pytest.approx(1 / 3), 1)
    assert task.row_scores(answers, rows) == [1, 0, 0]
    assert task.labels(rows) == [["long film"], [], []]

    task, rows = read(_squad(ROWS[3:]), threshold=-1.5)
    given = DataOptions(settings={"threshold": -1.5})
    assert task.tuned(answers, rows, given) is task
    assert task.spec.settings.threshold == -1.5
    task, rows = read(_squad(ROWS[:3]))  # all have answers
    assert not task.spec.settings.no_answer
    assert task.tuned(answers, rows, DataOptions()) is task
    assert task.scores(answers, rows).keys() == {"exact_match", "f1"}


def test_several_answers(read):
    tree = _squad([ROWS[0], ROWS[4]])
    (first, _) = tree["data"][0]["paragraphs"]
    for text in ("longer", "bad film"):
        first["qas"][0]["answers"].append(
            {"text": text, "answer_start": FIRST.index(text)}
        )
    task, rows = read(tree, several_answers=True)
    settings = task.spec.settings
    assert settings.several_answers and not settings.no_answer
    assert task.labels(rows)[0] == ["bad film", "longer"]
    answers = [_answer("longer"), _answer("")]
    assert task.scores(answers, rows) == pytest.approx(
        {"exact_match": 0.5, "f1": (2 / 3 + 1) / 2}
    )
    assert task.row_scores(answers, rows) == [pytest.approx(2 / 3), 1]


@pytest.mark.parametrize(
    ("settings", "first"),
    [({}, "long"), ({"whole_word_answers": False}, "##er")],
)
def test_whole_words_are_learnt_by_default(read, vocabulary, settings, first):
    task, rows = read(_squad([("bad ?", "the longer film", "er")]), **settings)
    examples = task.examples(rows)
    inputs, labels = examples.to_batch(examples.parts)
    tokens = [vocabulary.tokens[i] for i in inputs["token_ids"][0]]
    start, end = labels["logits"].numpy()[0]
    assert (tokens[start], tokens[end]) == (first, "##er")


def test_answers_that_are_elsewhere_are_reported(read, capsys):
    tree = _squad(ROWS[:1] * 150)
    answer = tree["data"][0]["paragraphs"][3]["qas"][0]["answers"][0]
    answer["answer_start"] += 1
    _, rows = read(tree)
    assert len(rows) == 149
    assert (
        "squad.json: 1 answers are not at their answer_start; left out, "
        "and 1 questions that had no others" in capsys.readouterr().err
    )


def test_answers_are_needed_to_learn_from(read):
    with pytest.raises(ValueError, match=r"squad\.json: no question has an a"):
        read(_squad(ROWS[4:]))


def test_what_a_table_has_is_not_asked_for(finetune):
    with pytest.raises(ValueError, match="--text_columns: not of --task=ques"):
        finetune(_squad(ROWS), "--text_columns=a")
    with pytest.raises(ValueError, match="squad.json: no 'data'"):
        finetune({"version": "1.1"})
