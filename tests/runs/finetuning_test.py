# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning that is scored while it trains, through the commands."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.runs import finetuning, run
from kbert.tasks import TaskSpec
from tests.runs import cluster


@pytest.fixture
def finetune(tmp_path, tiny_config, vocabulary, call):
    """Twelve steps on eight rows, most of one label; it may be flipped."""
    config = dataclasses.replace(tiny_config, num_hidden_layers=1)
    spec = TaskSpec(task="classification", max_seq_length=8, labels=("a", "b"))
    model = tasks.build(config, spec)
    folder.save(
        tmp_path / "init",
        model,
        config=config,
        vocabulary=vocabulary,
        spec=spec,
    )
    rows = [("the film was good", "good")] * 7 + [("the film was bad", "bad")]
    flip = {"good": "bad", "bad": "good"}
    for name, told in (("same", rows), ("flipped", None)):
        told = told or [(text, flip[label]) for text, label in rows]
        lines = ["text\tlabel", *("\t".join(row) for row in told)]
        path = tmp_path / f"{name}.tsv"
        path.write_text("\n".join(lines) + "\n", "utf-8")

    return lambda dev, *flags: call("finetune", *_flags(tmp_path, dev), *flags)


def _flags(work, dev):
    return [
        f"--init={work}/init",
        f"--train={work}/same.tsv",
        f"--dev={work}/{dev}.tsv",
        "--text_columns=text",
        f"--output_dir={work}/out",
        "--max_seq_length=8",
        "--batch_size=4",
        "--epochs=6",
        "--learning_rate=3e-2",
        "--schedule=constant",
        "--dropout=0",
        "--log_every=5",
    ]


def _held_out(out):
    lines = (out / "history.jsonl").read_text("utf-8").splitlines()
    return {
        log["step"]: (log["held_out_loss"], log["held_out_accuracy"])
        for log in map(json.loads, lines)
        if "held_out_loss" in log
    }


@pytest.mark.slow
def test_the_best_step_is_a_model_of_its_own(finetune, call, tmp_path):
    """Most held-out labels are the other one: the first score is the best."""
    flags = ["--strategy=mirrored", "--ema_decay=0.3", "--keep_checkpoints=1"]
    flags += ["--metric=loss"]
    printed = finetune("flipped", "--eval_every=4", *flags)
    out = tmp_path / "out"
    scores = _held_out(out)
    assert list(scores) == [4, 8, 12]
    assert scores[4][0] < scores[8][0] < scores[12][0]
    evaluation = json.loads((out / "evaluation.json").read_text("utf-8"))
    best = evaluation.pop("best")
    assert evaluation == {
        "loss": pytest.approx(scores[12][0], rel=1e-6),
        "accuracy": scores[12][1],
        "f1": pytest.approx(2 / 9),  # 1 of 7 rows and 1 of 2 answers
        "matthews": 0,  # a single answer
        "metric": "loss",
    }
    assert best.items() >= {
        *{"step": 4, "loss": scores[4][0], "accuracy": scores[4][1]}.items()
    }
    assert f"step 8/12  held out: loss {scores[8][0]:.4f}, accu" in printed
    assert (
        f"best_model: step 4, the best: held-out loss {scores[4][0]:.4f}; "
        f"{scores[12][0]:.4f} at the last step" in printed
    )
    for name, step in (("model", 12), ("best_model", 4)):
        call(
            "evaluate",
            f"--model={out / name}",
            f"--input={tmp_path}/flipped.tsv",
            "--text_columns=text",
            f"--output={tmp_path}/scores.json",
        )
        found = json.loads((tmp_path / "scores.json").read_text("utf-8"))
        assert found["loss"] == pytest.approx(scores[step][0], rel=1e-6), name

    # It is told to end again, when its best step's checkpoint is damaged.
    checkpoints = {path.name for path in (out / "checkpoints").iterdir()}
    assert checkpoints == {"step-00000004", "step-00000012"}
    (out / "checkpoints/step-00000004/state.index").write_bytes(b"")
    finetune("flipped", "--eval_every=4", *flags)
    assert (out / "model").exists() and not (out / "best_model").exists()

    # It goes on, and learns what is now held out.
    (out / "model").rename(out / "best_model")
    printed = finetune("same", "--eval_every=9", "--epochs=12", *flags)
    scores = _held_out(out)
    assert list(scores) == [4, 8, 12, 18, 24]
    assert min(scores.values())[0] == scores[24][0]
    assert re.search(r"best step: the last, held-out loss 0\.\d{4}\n", printed)
    assert (out / "model").exists() and not (out / "best_model").exists()


@pytest.mark.slow
def test_patience_ends_a_run_by_its_metric(finetune, call, tmp_path):
    """No later step is more often right; the embeddings are not trained."""
    flags = ("--eval_every=4", "--patience=1", "--freeze_blocks=0")
    printed = finetune("flipped", *flags, "--ema_decay=0.3", "--worst=3")
    out = tmp_path / "out"
    assert list(_held_out(out)) == [4, 8]
    evaluation = json.loads((out / "evaluation.json").read_text("utf-8"))
    assert evaluation["metric"] == "accuracy"
    assert evaluation["best"]["step"] == 4
    accuracy = evaluation["best"]["accuracy"]
    assert f"4, the best: held-out accuracy {accuracy:.4f};" in printed
    assert "--freeze_blocks=0: " in printed
    before, after = (
        {v.path: v.numpy() for v in folder.load(path).model.weights}
        for path in (tmp_path / "init", out / "model")
    )
    for path, value in before.items():
        assert (value == after[path]).all() == ("embedding" in path), path

    call(
        "evaluate",
        f"--model={out}/model",
        f"--input={tmp_path}/flipped.tsv",
        "--text_columns=text",
        f"--report_dir={tmp_path}/again",
    )
    reports = [
        json.loads((path / "report.json").read_text("utf-8"))
        for path in (out / "report", tmp_path / "again")
    ]
    assert reports[0]["scores"] == pytest.approx(reports[1]["scores"])
    assert reports[0]["classes"] == reports[1]["classes"]
    assert reports[0]["classes"]["bad"]["rows"] == 7
    lines = (out / "report/errors.jsonl").read_text("utf-8").splitlines()
    worst = [json.loads(line) for line in lines]
    assert [(x["line"], x["wanted"]) for x in worst] == [
        *((2, "bad"), (3, "bad"), (4, "bad"))
    ]
    assert worst[0]["texts"] == ["the film was good"]
    assert worst[0]["score"] == worst[0]["answer"]["probabilities"]["bad"]


def test_a_run_on_other_rows_does_not_go_on(finetune, tmp_path, monkeypatch):
    """Else it would end at once, and give old weights new labels."""
    finetune("same")
    model = tmp_path / "out" / "model"
    before = (model / "task.json").read_bytes()
    said = []
    monkeypatch.setattr(run, "_say", said.append)
    finetune("same")  # it may, and is done
    assert said == [f"{tmp_path}/out: 12 of 12 steps are done already."]
    flags = f"--train={tmp_path}/flipped.tsv", "--max_seq_length=6"
    for other in flags:
        with pytest.raises(ValueError, match="/out: its checkpoints are of a"):
            finetune("same", other)
    assert (model / "task.json").read_bytes() == before
    told = (tmp_path / "out" / "flags.txt").read_text("utf-8")
    assert "--max_seq_length=8" in told and "/same.tsv" in told
    shutil.rmtree(tmp_path / "out" / "checkpoints")
    finetune("same", flags[0])


def test_rows_of_tokens_that_are_not_seen_decay_alone(finetune, tmp_path):
    """As in the published training, which moves all of them at each step."""
    flags = "--weight_decay=0.1", "--warmup_share=0"
    finetune("same", *flags, "--epochs=3")
    finetune("same", *flags)  # goes on
    before, after = (
        folder.load(tmp_path / path).model.get_layer("token_embedding")
        for path in ("init", "out/model")
    )
    ratio = after.embeddings / before.embeddings
    seen = np.ptp(ratio, axis=1) > 0.01
    tokens = folder.load(tmp_path / "init").vocabulary.tokens
    assert {tokens[index] for index in np.flatnonzero(seen)} == {
        *("[CLS]", "[SEP]", "the", "film", "was", "good", "bad")
    }
    want = (1 - 3e-2 * 0.1) ** 12  # so many steps of one rate
    np.testing.assert_allclose(ratio[~seen], want, rtol=1e-5)


@pytest.mark.slow
def test_two_workers_learn_what_one_process_does(finetune, tmp_path):
    how = ["--epochs=2", "--eval_every=3", "--weight_decay=0.1"]
    flags = [*_flags(tmp_path, "same"), *how, f"--output_dir={tmp_path}/two"]
    flags.append("--strategy=multi_worker")
    ports = cluster.free_ports(2)
    workers = [
        cluster.start("finetune", flags, index, ports) for index in (0, 1)
    ]
    finetune("same", "--strategy=one_device", *how)
    for worker in workers:
        _, err = worker.communicate(timeout=100)
        assert worker.returncode == 0, err
    two, one, init = (
        {v.path: v.numpy() for v in folder.load(tmp_path / x).model.weights}
        for x in ("two/model", "out/model", "init")
    )
    for path, values in one.items():
        assert np.abs(values - init[path]).max() > 1e-3, path
        # Less the keys' biases: their true gradient is 0.
        mine, theirs = (
            np.delete(x, np.s_[16:32]) if "qkv_bias" in path else x
            for x in (two[path], values)
        )
        np.testing.assert_allclose(mine, theirs, atol=1e-5, err_msg=path)
    assert _held_out(tmp_path / "two").keys() == {3, 4}
    losses = [_held_out(tmp_path / x)[4][0] for x in ("two", "out")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_options_take_the_same_steps(finetune, tmp_path):
    """Parts of two rows, on two devices, and blocks computed twice."""
    path = tmp_path / "out"
    flags = ["--epochs=2", "--log_every=1"]
    found = []
    for options in (
        [],
        ["--strategy=mirrored", "--accumulate_steps=2", "--remat"],
        ["--xla"],  # with padding
    ):
        finetune("same", *flags, *options)
        lines = (path / "history.jsonl").read_text("utf-8").splitlines()
        found.append([json.loads(line)["loss"] for line in lines])
        path.rename(tmp_path / f"out{len(found)}")
    assert len(found[0]) == 4 and np.ptp(found[0]) > 0.2
    for losses in found[1:]:
        assert losses == pytest.approx(found[0], abs=1e-5)


@pytest.mark.parametrize(("xla", "rows"), [(False, 11), (True, 16)])
def test_steps_leave_padding_out_unless_xla_takes_them(
    xla, rows, tiny_config, monkeypatch
):
    """Two rows of 8 slots with 8 and 3 tokens."""
    spec = TaskSpec(task="tagging", max_seq_length=8, labels=("O", "B-x"))
    model = tasks.build(tiny_config, spec)
    seen = []
    activation = model.get_layer("block_0")._activation
    monkeypatch.setattr(
        model.get_layer("block_0"),
        "_activation",
        lambda x, training: seen.append(x.shape[:-1]) or activation(x),
    )
    lengths = np.array([8, 3])[:, None]
    ids = np.ones((2, 8), "int32")
    finetuning.computed(model, None, xla).model(
        {
            "token_ids": ids,
            "segment_ids": 0 * ids,
            "padding_mask": (np.arange(8) < lengths).astype("int32"),
        }
    )
    assert np.prod(seen[-1]) == rows


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--freeze_blocks=2"], "--freeze_blocks=2: wanted at most 1, the mod"),
        (
            ["--freeze_blocks=1", "--layer_decay=0.9"],
            "=1 no block is left to t",
        ),
        (["--patience=2"], "--patience=2: no scores to wait for; wanted --eva"),
        (["--metric=bleu"], "--metric=bleu: wanted loss, or a score of the ta"),
    ],
)
def test_settings_that_cannot_be(finetune, tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        finetune("same", *flags)
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_scores_now_and_then_need_held_out_data(finetune, call, tmp_path):
    message = "--eval_every=4: nothing to score the model on; wanted {} too"
    with pytest.raises(ValueError, match=message.format("--dev")):
        finetune("same", "--eval_every=4", "--dev=")
    with pytest.raises(ValueError, match=message.format("--eval_input")):
        call("pretrain", "--input=x", "--eval_every=4", "--output_dir=none")


def test_worst_rows_need_held_out_data(finetune):
    with pytest.raises(ValueError, match="--worst=3: wanted --dev too"):
        finetune("same", "--worst=3", "--dev=")
