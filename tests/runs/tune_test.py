# SPDX-License-Identifier: Apache-2.0
"""kbert-tune: trials that fail, stop and resume, and the table of them."""

import dataclasses
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.runs import tune
from kbert.runs.tune import DONE, FAILED, STOPPED, Search, Trial
from kbert.tasks import TaskSpec

# What kbert-finetune does to its folder, in no time: each trial has two steps,
# whose checkpoints are files. Rate 0.2 fails; a step in a folder that holds
# "wait" waits for SIGTERM, which it leaves with 75.
STAND_IN = """
import json, os, pathlib, signal, sys, time
if os.getpgrp() != os.getpid():
    sys.exit("A terminal's Ctrl-C would end it, nothing saved.")
flags = dict(x.lstrip("-").split("=", 1) for x in sys.argv[1:])
output = pathlib.Path(flags["output_dir"])
rate, seed = float(flags["learning_rate"]), int(flags["seed"])
with open(flags["asked"], "a") as file:
    file.write(f"{rate:g} {seed}\\n")
if rate == 0.2:
    print("reading", flush=True)
    sys.exit("kbert-finetune: error: train.tsv:3: no label.")
def stop(*_):
    pathlib.Path(flags["wait"] + "_stopped").touch()
    sys.exit(75)

signal.signal(signal.SIGTERM, stop)
(output / "checkpoints").mkdir(exist_ok=True)
for step in (1, 2):
    path = output / "checkpoints" / str(step)
    if path.exists():
        continue
    if step == 2 and pathlib.Path(flags["wait"]).exists():
        pathlib.Path(flags["wait"]).rename(flags["wait"] + "ing")
        time.sleep(60)
    path.touch()
    with open(output / "steps", "a") as file:
        file.write(f"{step} ")
kept = {"loss": 3 * rate, "f1": 0.1}
if seed:
    kept = {"step": 1, "loss": rate, "f1": rate + seed / 10}
kept["last"] = kept["best"] = {"step": 2, "loss": 0.01, "f1": 0.99}
(output / "model").mkdir()
(output / "model" / "of").write_text(output.name)
text = json.dumps({**kept, "metric": flags["metric"]})
(output / "evaluation.json").write_text(text)
"""
ERROR = "kbert-finetune: error: train.tsv:3: no label."
GRID = {"learning_rate": [0.1, 0.2], "seed": [0, 1]}


@pytest.fixture
def search(tmp_path):
    """Runs a grid with the stand-in; returns the search and what it said."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    (tmp_path / "out").mkdir()

    def search(grid=GRID, metric="f1"):
        made = Search(str(tmp_path / "out"), _flags(tmp_path, metric))
        said = []
        program = [sys.executable, str(tmp_path / "stand_in.py")]
        return made, made.run(grid, program, said.append), said

    return search


def _flags(tmp_path, metric="f1"):
    return [
        f"--asked={tmp_path}/asked",
        f"--metric={metric}",
        f"--wait={tmp_path}/wait",
    ]


def _asked(tmp_path):
    lines = (tmp_path / "asked").read_text().splitlines()
    (tmp_path / "asked").unlink()
    return lines


def _stop_when_it_waits(tmp_path, number):
    def stop():
        if _comes(tmp_path / "waiting"):
            os.kill(os.getpid(), number)

    (tmp_path / "wait").touch()
    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_search_is_stopped_and_resumes(search, tmp_path, number):
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    thread = _stop_when_it_waits(tmp_path, number)
    found, ended, said = search()
    thread.join()
    assert not ended
    assert [trial.state for trial in found.trials] == [STOPPED, "", "", ""]
    assert _asked(tmp_path) == ["0.1 0"]
    assert handlers == [
        signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)
    ]
    assert said == ["1/4  learning_rate=0.1_seed=0"]
    stopped_after = found.trials[0].seconds
    assert stopped_after > 0

    found, ended, said = search()
    assert ended
    states = [DONE, DONE, FAILED, FAILED]
    assert [trial.state for trial in found.trials] == states
    assert _asked(tmp_path) == ["0.1 0", "0.1 1", "0.2 0", "0.2 1"]
    # The first resumed from its first step, and gave up its checkpoints.
    trial = tmp_path / "out" / "learning_rate=0.1_seed=0"
    assert (trial / "steps").read_text() == "1 2 "
    assert not (trial / "checkpoints").exists()
    assert found.trials[0].seconds > stopped_after
    assert said[1].startswith("1/4  f1 0.1000, 0:0")
    expected = r"3/4  learning_rate=0\.2_seed=0, \d:\d\d:\d\d left in all"
    assert re.fullmatch(expected, said[4])
    assert said[5] == f"3/4  failed: {ERROR}"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
def test_a_search_that_is_killed_stops_its_trial(search, tmp_path):
    (tmp_path / "wait").touch()
    program = [sys.executable, str(tmp_path / "stand_in.py")]
    code = f"""
from kbert.runs.tune import Search
search = Search({str(tmp_path / "out")!r}, {_flags(tmp_path)!r})
search.run({GRID!r}, {program!r}, print)
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        assert _comes(tmp_path / "waiting")
        process.kill()
    assert _comes(tmp_path / "wait_stopped")
    found, ended, _ = search()
    assert ended and found.trials[0].state == DONE
    trial = tmp_path / "out" / found.trials[0].name
    assert (trial / "steps").read_text() == "1 2 "


def _comes(path):
    until = time.monotonic() + 20
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return path.exists()


def test_a_search_names_the_best_and_what_failed(search, tmp_path):
    """The best seed of the best setting, by the scores of its model."""
    found, ended, _ = search()
    assert ended and len(_asked(tmp_path)) == 4
    setting, best = found.best()
    assert setting.values == {"learning_rate": 0.1}
    assert (best.name, best.score) == ("learning_rate=0.1_seed=1", 0.2)
    out = tmp_path / "out"
    assert found.copy_best_model() == out / "model"
    assert (out / "model" / "of").read_text() == best.name
    assert best.model == f"{best.name}/model"
    scores = (out / best.name / "evaluation.json").read_text()
    assert (out / "evaluation.json").read_text() == scores
    summary = json.loads((out / "search.json").read_text())
    assert summary["best"] == {"setting": setting.values, "trial": best.name}
    assert summary["settings"][0] == {
        "learning_rate": 0.1,
        "trials": 2,
        "mean": pytest.approx(0.15),
        "deviation": pytest.approx(0.5**0.5 / 10),
    }
    text = (out / "search.md").read_text()
    assert f"learning_rate=0.2_seed=1 failed: {ERROR}" in text
    assert str(out / best.model) in text


@pytest.mark.parametrize("name", ["model/LICENSE", "evaluation.json"])
def test_a_link_out_of_a_trials_folder_is_not_copied(search, tmp_path, name):
    found, *_ = search()
    secret = tmp_path / "secret"
    secret.touch()
    file = tmp_path / "out" / found.best()[1].name / name
    file.unlink(missing_ok=True)
    file.symlink_to(secret)
    with pytest.raises(ValueError, match=f"{name}: a link to {secret}, outs"):
        found.copy_best_model()
    assert not (tmp_path / "out" / name).exists()


def test_a_larger_grid_adds_to_what_there_is(search, tmp_path):
    """What failed is tried again, what is done is not."""
    search()
    _asked(tmp_path)
    found, ended, _ = search({"learning_rate": [0.1, 0.2, 0.3], "seed": [1]})
    assert ended and _asked(tmp_path) == ["0.2 1", "0.3 1"]
    assert len(found.trials) == 5
    assert found.best()[1].name == "learning_rate=0.3_seed=1"
    rows = (tmp_path / "out/search.md").read_text().splitlines()[2:7]
    assert [[x.strip() for x in row.strip("|").split("|")] for row in rows] == [
        ["learning_rate", "done", "mean", "deviation", "best", ""],
        ["-" * 13, "-" * 5 + ":", "-" * 5 + ":", "-" * 8 + ":"]
        + ["-" * 5 + ":", "-" * 6 + ":"],
        ["0.1", "2 of 2", "0.1500", "0.0707", "0.2000", ""],
        ["0.2", "0 of 2", "-", "-", "-", ""],
        ["0.3", "1 of 1", "0.4000", "-", "0.4000", "<- best"],
    ]
    with pytest.raises(ValueError, match="search.json: of a search with the"):
        search(metric="loss")


def test_files_that_have_changed_are_named(call, search, tmp_path):
    """Also where a flagfile names them."""
    train, dev = tmp_path / "train.tsv", tmp_path / "dev.tsv"
    for path in (train, dev):
        path.write_text("text\tlabel\n")
    (tmp_path / "a.flags").write_text(f"# how\n--train={train}\n")
    flags = [f"--flagfile={tmp_path}/a.flags", "--dev", str(dev)]
    inputs = {"train": str(train), "dev": str(dev)}
    output = str(tmp_path / "out")
    Search(output, flags, inputs).write()
    Search(output, flags, inputs).write()
    for path in (train, dev):
        path.write_text("text\tlabel\na\tb\n")
        message = (
            rf"--{path.stem}={path}: has changed since the search in .*out"
        )
        with pytest.raises(ValueError, match=message):
            call("tune", f"--output_dir={output}", "--seed=0", "--", *flags)
        path.write_text("text\tlabel\n")
    assert Search(output).command == flags  # which reads none of them


def test_a_model_that_has_changed_is_named(call, tmp_path):
    """By its files: the weights of another model are enough."""
    init, output = tmp_path / "init", str(tmp_path / "out")
    for path in (init, tmp_path / "out"):
        path.mkdir()
    for name in folder._FILES:
        (init / name).write_text("first")
    flags = [f"--init={init}", "--dev_share=0.5"]
    Search(output, flags, {"init": str(init)}).write()
    Search(output, flags, {"init": str(init)}).write()
    (init / "model.weights.h5.sha256").write_text("second")
    message = rf"--init={init}: has changed since the search in .*out began"
    with pytest.raises(ValueError, match=message):
        call("tune", f"--output_dir={output}", "--seed=0", "--", *flags)


@pytest.mark.parametrize("flag", ["train", "dev", "flagfile"])
def test_a_pipe_is_refused_before_any_trial(call, tmp_path, flag):
    os.mkfifo(tmp_path / "pipe")
    flags = ["--dev_share=0.5", f"--{flag}={tmp_path}/pipe"]
    with pytest.raises(ValueError, match="pipe: a FIFO"):
        call("tune", f"--output_dir={tmp_path}/out", "--seed=0", "--", *flags)


def test_the_lower_the_loss_the_better(search, tmp_path):
    grid = {"learning_rate": [0.3, 0.1], "seed": [0, 1]}
    found, _, _ = search(grid, metric="loss")
    assert [trial.score for trial in found.trials] == pytest.approx(
        [0.9, 0.3, 0.3, 0.1]
    )
    setting, best = found.best()
    assert setting.values == {"learning_rate": 0.1}
    assert best.name == "learning_rate=0.1_seed=1"
    assert "0.1000" in found.table()


def test_means_and_deviations_are_of_the_trials_that_are_done(tmp_path):
    found = Search(str(tmp_path), [])
    found.metric = "accuracy"
    scores = {1: [0.5, 0.8, 0.65], 2: [0.9], 3: [math.nan, 0.99], 4: []}
    for epochs, numbers in scores.items():
        found.trials += [
            Trial({"epochs": epochs, "seed": i}, state=DONE, score=score)
            for i, score in enumerate(numbers)
        ]
        found.trials.append(Trial({"epochs": epochs, "seed": 9}, state=FAILED))
    first, second, third, fourth = found.settings()
    assert first.mean == pytest.approx(0.65)
    assert (
        first.deviation
        == pytest.approx(statistics.stdev([0.5, 0.8, 0.65]))
        == pytest.approx(0.15)
    )
    assert second.mean == 0.9 and math.isnan(second.deviation)
    assert math.isnan(third.mean) and math.isnan(fourth.mean)
    setting, trial = found.best()
    assert setting.values == {"epochs": 2} and trial.score == 0.9


@pytest.mark.slow
def test_through_the_commands(
    call, tmp_path, tiny_config, vocabulary, monkeypatch
):
    """One trial of two steps, in a separate process."""
    config = dataclasses.replace(tiny_config, num_hidden_layers=1)
    spec = TaskSpec(task="encoder", max_seq_length=8)
    folder.save(
        tmp_path / "init",
        tasks.build(config, spec),
        config=config,
        vocabulary=vocabulary,
        spec=spec,
    )
    table = tmp_path / "rows.tsv"
    table.write_text("text\tlabel\nthe film was good\tgood\nbad\tbad\n")
    flags = ["--learning_rate=1e-2", "--epochs=1"]
    behind = [
        "--",
        f"--init={tmp_path}/init",
        f"--train={table}",
        f"--dev={table}",
        "--text_columns=text",
        "--max_seq_length=8",
        "--batch_size=1",
    ]
    output = f"--output_dir={tmp_path}/out"
    printed = call("tune", output, *flags, *behind)
    trial = tmp_path / "out" / "learning_rate=0.01_epochs=1"
    scores = json.loads((trial / "evaluation.json").read_text())
    assert scores["metric"] == "accuracy"
    assert f"1/1  accuracy {scores['accuracy']:.4f}, 0:0" in printed
    assert f"{tmp_path}/out/model: its model" in printed
    folder.load(tmp_path / "out" / "model")
    assert (trial / "report" / "errors.jsonl").exists()
    assert call("tune", output) == (tmp_path / "out/search.md").read_text()
    # All is done: no process is needed.
    monkeypatch.setattr(tune.subprocess, "Popen", None)
    call("tune", output, *flags, *behind)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed=0,x"], "--seed=0,x: needs comma"),
        (["--epochs=0"], "--epochs=0: needs comma"),
        (["--seed=0", "--", "--seed=1"], "--seed is given before and after"),
        (["--", "--seed=1"], "Give a list of values before the --"),
        (
            ["--seed=0", "--", "--train=a.tsv"],
            "Give --dev or --dev_share after the --",
        ),
        ([], "search.json: not there"),
    ],
)
def test_wrong_flags(call, tmp_path, flags, message):
    with pytest.raises(Exception, match=message) as info:
        call("tune", f"--output_dir={tmp_path}/none", *flags)
    assert type(info.value).__name__ in ("ValueError", "UsageError")


TRIAL = {"values": {"seed": 0}, "state": "done", "score": 0.5, "model": "m"}
DEEP = '{"trials":' + "[" * 100_000


def _kept(**changed):
    return json.dumps({"command": [], "metric": "f1", "trials": [], **changed})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: not JSON"),
        ("[]", r": \[\]; needs an object"),
        ("{}", r": fields \['command', 'metric', 'trials'\] are missing"),
        (DEEP, ":1: JSON that is nested more than 100 levels deep"),
        (_kept(command="--seed"), ': command is "--seed"; needs a list'),
        (_kept(command=[1]), r": command\[0\] is 1; needs a string"),
        (_kept(metric=None), ": metric is null; needs a string"),
        (_kept(trials={}), ": trials is {}; needs a list"),
        (_kept(trials=[1]), r": trials\[0\] is 1; needs an object"),
        (_kept(trials=[{}]), r": trials\[0\]: fields \['values'\] are missing"),
        *(
            (_kept(trials=[TRIAL | changed]), rf": trials\[0\]\.{message}")
            for changed, message in (
                ({"values": [1]}, r"values is \[1\]; needs an object"),
                ({"values": {"seed": "0"}}, 'values.seed is "0"; needs'),
                ({"state": "lost"}, 'state is "lost"; needs one of'),
                ({"score": "0.5"}, 'score is "0.5"; needs a number'),
                ({"model": 1}, "model is 1; needs a string"),
                ({"seconds": -1}, "seconds is -1"),
                ({"error": []}, r"error is \[\]; needs a string"),
            )
        ),
    ],
)
def test_a_damaged_search_is_named(text, message, tmp_path):
    (tmp_path / "search.json").write_text(text)
    with pytest.raises(ValueError, match=f"search.json{message}"):
        Search(str(tmp_path))
    assert [x.name for x in tmp_path.iterdir()] == ["search.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: not JSON"),
        ("[]", r": \[\]; needs an object"),
        ("{}", r": fields \['metric'\] are missing"),
        ("[" * 100_000, ":1: JSON that is nested more than 100 levels deep"),
        ('{"metric": 1}', ": metric is 1; needs a string"),
        ('{"metric": "f1"}', r": no \['f1'\]"),
        ('{"metric": "loss"}', r": no \['loss'\]"),
        ('{"metric": "f1", "f1": "0.5"}', ': f1: "0.5"; needs a number'),
        ('{"metric": "f1", "f1": 0.5, "best": []}', r": best is \[\]; needs"),
    ],
)
def test_damaged_scores_of_a_trial_are_named(text, message, tmp_path):
    (tmp_path / "evaluation.json").write_text(text)
    found, trial = Search(str(tmp_path), []), Trial({"seed": 0})
    with pytest.raises(ValueError, match=f"evaluation.json{message}"):
        found._take(trial, tmp_path)
