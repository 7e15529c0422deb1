# SPDX-License-Identifier: Apache-2.0
"""kbert-predict: a line for each text, from a table or from flags."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.tasks.predictor import make_predictor


@pytest.fixture
def model(tmp_path, tiny_config, vocabulary):
    """A folder with a model of sentence pairs, and its server."""
    spec = tasks.TaskSpec(
        task="classification",
        max_seq_length=12,
        labels=("bad", "schön"),
        num_texts=2,
    )
    parts = {"vocabulary": vocabulary, "spec": spec}
    model = tasks.build(tiny_config, spec)
    rng = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    folder.save(tmp_path / "model", model, config=tiny_config, **parts)
    return tmp_path / "model", make_predictor(model, **parts)


def _predict(*flags):
    command = [sys.executable, "-m", "kbert.bin.predict", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def _same(lines, want):
    got = [json.loads(line) for line in lines]
    assert [row["label"] for row in got] == [row["label"] for row in want]
    for mine, theirs in zip(got, want, strict=True):
        assert list(mine["probabilities"]) == ["bad", "schön"]
        assert mine["probabilities"] == pytest.approx(
            theirs["probabilities"], abs=1e-5
        )


def test_answers_a_table(call, model, tmp_path):
    path, server = model
    table = tmp_path / "pairs.csv"
    table.write_text('id,b,a\n1,"good, good",the film\n2,,bad\n')
    output = tmp_path / "answers.jsonl"
    flags = [f"--model={path}", f"--input={table}", "--text_columns=a,b"]
    assert call("predict", *flags, f"--output_file={output}") == ""
    want = server.predict(["the film", "bad"], ["good, good", ""])
    _same(output.read_text("utf-8").splitlines(), want)
    assert {p.name for p in tmp_path.iterdir()} == {
        *("model", "pairs.csv", "answers.jsonl")
    }


def test_flags_reach_the_answers(call, model, tmp_path, monkeypatch):
    path, _ = model
    table = tmp_path / "pairs.csv"
    table.write_text("id,b,a\n7,good,the film\n8,bad," + "film " * 12 + "\n")
    flags = [f"--model={path}", f"--input={table}", "--text_columns=a,b"]
    flags += [f"--output_file={tmp_path}/answers.csv", "--keep_columns=id"]
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    call("predict", *flags)
    first, *rows = (tmp_path / "answers.csv").read_text("utf-8").splitlines()
    assert first == "id,label,probabilities.bad,probabilities.schön"
    assert [row.split(",")[0] for row in rows] == ["7", "8"]
    assert said.getvalue().endswith(f"{table}: 2 rows, 1 of them truncated\n")


def test_entities_are_those_of_the_aggregation_that_is_given(
    build, call, tmp_path, tiny_config, vocabulary
):
    spec = tasks.TaskSpec(task="tagging", max_seq_length=9, labels=("O", "B-x"))
    folder.save(
        tmp_path / "model",
        build(spec),
        config=tiny_config,
        vocabulary=vocabulary,
        spec=spec,
    )
    flags = [f"--model={tmp_path}/model", "--text=The film was not very good."]
    counts = [
        len(json.loads(call("predict", *flags, *more))["entities"])
        for more in (["--aggregation=joined"], [])
    ]
    assert counts[0] < counts[1]


@pytest.mark.slow
def test_as_many_answers_as_are_asked_for(
    call, tmp_path, tiny_config, vocabulary
):
    spec = tasks.TaskSpec(
        task="question_answering",
        max_seq_length=16,
        num_texts=2,
        settings={"max_query_length": 4},
    )
    folder.save(
        tmp_path / "model",
        tasks.build(tiny_config, spec),
        config=tiny_config,
        vocabulary=vocabulary,
        spec=spec,
    )
    flags = [f"--model={tmp_path}/model", "--text=film", "--text_b=bad good"]
    counts = [
        len(json.loads(call("predict", *flags, *more))["answers"])
        for more in ([], ["--n_best=2"])
    ]
    assert counts == [3, 2]  # bad, good, and both


def test_answers_texts_given_as_flags(call, model):
    path, server = model
    flags = [f"--model={path}", "--text=the film", "--text_b=not good"]
    said = call("predict", *flags)
    _same(said.splitlines(), server.predict(["the film"], ["not good"]))


def test_a_pair_without_its_second_text_is_named(model, call):
    path, _ = model
    with pytest.raises(ValueError, match="^--text_b is given 0 times"):
        call("predict", f"--model={path}", "--text=a")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input=a.csv", "--text_b=b"], "^--text_b: only for --text"),
        (
            ["--text=a", "--text_b=b", "--text_columns=a,b"],
            "^--text_columns: only for --input",
        ),
    ],
)
def test_flags_in_vain_are_named(flags, message, model, call):
    path, _ = model
    with pytest.raises(ValueError, match=message):
        call("predict", f"--model={path}", *flags)


def test_a_model_of_another_task_is_refused(model, call, tmp_path):
    path, server = model
    texts = ["--text=the film", "--text_b=not good"]
    said = call("predict", f"--model={path}", *texts, "--task=classification")
    _same(said.splitlines(), server.predict(["the film"], ["not good"]))
    message = "^--task=tagging: the model's is classification.$"
    for command, given in (("predict", texts), ("evaluate", ["--input=a"])):
        with pytest.raises(ValueError, match=message):
            call(command, f"--model={path}", *given, "--task=tagging")
    vectors = ["--output=embeddings", f"--output_file={tmp_path}/a.npy"]
    with pytest.raises(ValueError, match="^--task: only for --output=answers"):
        call("predict", f"--model={path}", *texts[:1], *vectors, "--task=a")


def test_no_texts_is_one_line():
    assert _predict("--model=any") == (
        1,
        "",
        "kbert-predict: error: Give one of --input and --text.\n",
    )


_PEAK = """
import resource, sys
from kbert.bin import predict
from absl import flags
predict.main(flags.FLAGS(sys.argv))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_long_file_takes_no_more_memory(model, tmp_path):
    path, _ = model
    table, output = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    peaks = []  # MiB
    for count in (20_000, 250_000):
        with open(table, "w") as file:
            for i in range(count):
                words = " ".join(["film", "good"] * (i % 4))
                print(json.dumps({"a": words, "b": f"not {i}"}), file=file)
        flags = [f"--model={path}", f"--input={table}", "--text_columns=a,b"]
        flags += [f"--output_file={output}", "--batch_size=512"]
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, *flags],
            check=True,
            capture_output=True,
        )
        peaks.append(int(done.stdout))
        with open(output) as file:
            assert sum(1 for _ in file) == count
    # The answers alone would take 230,000 objects of over 500 bytes.
    assert peaks[1] < peaks[0] + 60
