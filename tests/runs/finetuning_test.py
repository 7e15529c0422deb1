# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning that is scored while it trains, through the commands."""

import dataclasses
import hashlib
import json
import re
import shutil

import numpy as np
import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.runs import console, finetuning, run_record
from kbert.tasks import TaskSpec
from tests.runs import cluster


@pytest.fixture
def finetune(tmp_path, tiny_config, vocabulary, call):
    """Twelve steps on eight rows, most of one label; it may be flipped."""
    config = dataclasses.replace(tiny_config, num_hidden_layers=1)
    how = {"pooling": "max", "normalize": True}
    spec = TaskSpec(
        task="classification",
        max_seq_length=8,
        labels=("a", "b"),
        embedding=how,
    )
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
    for name, given in (("same", rows), ("flipped", None)):
        given = given or [(text, flip[label]) for text, label in rows]
        lines = ["text\tlabel", *("\t".join(row) for row in given)]
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


def _validation_scores(out):
    lines = (out / "history.jsonl").read_text("utf-8").splitlines()
    return {
        log["step"]: (log["held_out_loss"], log["held_out_accuracy"])
        for log in map(json.loads, lines)
        if "held_out_loss" in log
    }


def _losses(out, name="loss"):
    lines = (out / "history.jsonl").read_text("utf-8").splitlines()
    logs = map(json.loads, lines)
    return {log["step"]: log[name] for log in logs if name in log}


def _evaluation(out):
    return json.loads((out / "evaluation.json").read_text("utf-8"))


def test_each_epoch_is_scored_and_the_best_step_kept(finetune, tmp_path):
    """Most held-out labels are the other one: the first score is the best."""
    flags = "--metric=loss", "--epochs=3"
    printed = finetune("flipped", *flags)
    out = tmp_path / "out"
    scores = _validation_scores(out)
    assert list(scores) == [2, 4, 6]
    losses = [loss for loss, _ in scores.values()]
    assert losses[0] < losses[1] < losses[2]
    found = _evaluation(out)
    assert found["loss"] == pytest.approx(losses[0], rel=1e-6)
    assert (found["step"], found["kept"], found["input"]) == (
        *(2, "best", "flipped.tsv"),
    )
    best, last = found["best"], found["last"]
    assert (best["step"], best["loss"]) == (2, losses[0])
    assert (last["step"], last["loss"]) == (6, losses[2])
    assert (
        f"out/model: the trained model, of step 2, the best: loss "
        f"{losses[0]:.4f}; step 6, the last, has {losses[2]:.4f}\n" in printed
    )
    how = folder.load(out / "model").spec.embedding_settings
    assert (how.pooling, how.normalize) == ("max", True)  # the encoder's own
    trained = (out / "model/model.weights.h5").read_bytes()
    printed = finetune("flipped", *flags, "--keep=last")
    assert (out / "model/model.weights.h5").read_bytes() != trained
    found = _evaluation(out)
    assert found["loss"] == pytest.approx(losses[2], rel=1e-6)
    assert (found["step"], found["kept"]) == (6, "last")
    assert f"of step 6, the last: loss {losses[2]:.4f}; step 2, the" in printed
    # Nothing says how good the model is that comes of more steps.
    finetune("flipped", "--dev=", "--epochs=4")
    assert not (out / "evaluation.json").exists()


@pytest.mark.slow
def test_the_best_step_by_eval_every(finetune, call, tmp_path, said):
    flags = ["--strategy=mirrored", "--ema_decay=0.3", "--keep_checkpoints=1"]
    flags += ["--metric=loss"]
    printed = finetune("flipped", "--eval_every=4", *flags)
    out = tmp_path / "out"
    scores = _validation_scores(out)
    assert list(scores) == [4, 8, 12]
    assert scores[4][0] < scores[8][0] < scores[12][0]
    found = _evaluation(out)
    assert (found["step"], found["kept"], found["metric"]) == (
        *(4, "best", "loss"),
    )
    assert found["accuracy"] == scores[4][1]
    assert f"step 8/12  validation: loss {scores[8][0]:.4f}, accu" in printed

    def evaluated():
        call(
            "evaluate",
            f"--model={out}/model",
            f"--input={tmp_path}/flipped.tsv",
            "--text_columns=text",
            f"--output={tmp_path}/scores.json",
        )
        return json.loads((tmp_path / "scores.json").read_text("utf-8"))

    assert evaluated()["loss"] == pytest.approx(scores[4][0], rel=1e-6)
    # The best step's checkpoint is damaged: the last step's it is.
    checkpoints = {path.name for path in (out / "checkpoints").iterdir()}
    assert checkpoints == {"step-00000004", "step-00000012"}
    (out / "checkpoints/step-00000004/state.index").write_bytes(b"")
    said.clear()
    finetune("flipped", "--eval_every=4", *flags)
    assert "step-00000004: damaged" in said[-1]
    assert _evaluation(out)["kept"] == "last"
    assert evaluated()["loss"] == pytest.approx(scores[12][0], rel=1e-6)

    # It is resumed, and learns what is now validation data.
    printed = finetune("same", "--eval_every=9", "--epochs=12", *flags)
    scores = _validation_scores(out)
    assert list(scores) == [4, 8, 12, 18, 24]
    assert min(scores.values())[0] == scores[24][0]
    assert re.search(
        r"step 24, the last and the best: loss 0\.\d{4}\n", printed
    )


@pytest.mark.slow
def test_patience_ends_a_run_by_its_metric(finetune, call, tmp_path):
    """No later step is more often right; the embeddings are not trained."""
    flags = ("--eval_every=4", "--patience=1", "--freeze_blocks=0")
    printed = finetune("flipped", *flags, "--ema_decay=0.3", "--worst=3")
    out = tmp_path / "out"
    assert list(_validation_scores(out)) == [4, 8]
    evaluation = json.loads((out / "evaluation.json").read_text("utf-8"))
    assert evaluation["metric"] == "accuracy"
    assert evaluation["best"]["step"] == 4
    accuracy = evaluation["best"]["accuracy"]
    assert f"4, the best: accuracy {accuracy:.4f}; step 8" in printed
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


@pytest.fixture
def said(monkeypatch):
    """The lines on stderr."""
    said = []
    monkeypatch.setattr(console, "print_message", said.append)
    return said


def _files(out):
    """All that a run wrote but its events and the locks."""
    return {
        path.relative_to(out): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and "tensorboard" not in path.parts
    }


def test_a_run_with_other_settings_is_not_resumed(finetune, tmp_path, said):
    """Neither while it is under way nor when it is done."""
    out = tmp_path / "out"
    finetune("same", "--epochs=1")
    before = _files(out)
    with pytest.raises(
        ValueError,
        match=r"/out: the run there cannot be resumed with "
        r"--freeze_blocks=0 \(none before\), --max_seq_length=6 \(8 before\): ",
    ):
        finetune(
            "same", "--epochs=1", "--max_seq_length=6", "--freeze_blocks=0"
        )
    with pytest.raises(ValueError) as info:
        finetune("same", f"--train={tmp_path}/flipped.tsv", "--seed=7")
    assert (
        "with --seed=7 (0 before), --train=flipped.tsv (same.tsv before): that"
        in str(info.value)
    )
    rows = (tmp_path / "same.tsv").read_text("utf-8")
    (tmp_path / "same.tsv").write_text(rows + "long\tbad\n", "utf-8")
    with pytest.raises(ValueError, match="same.tsv .with another content befo"):
        finetune("same", "--epochs=1")
    assert _files(out) == before
    assert said == []
    shutil.rmtree(out / "checkpoints")
    finetune("same", "--epochs=1", "--batch_size=3")
    assert said == [
        f"{out}: has no checkpoint of the earlier run; starts at step 1."
    ]
    [part] = run_record.read(out)["parts"]
    assert part["settings"]["batch_size"] == part["last_step"] == 3


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_what_ran_is_recorded(finetune, tmp_path, said):
    """A part for each run with steps; what is only scored is none."""
    out = tmp_path / "out"
    text = finetune("same", "--epochs=1")
    assert f"all weights are from {tmp_path}/init" in text
    assert "\n| good  |     7 |   7 |\n" in text
    assert "same.tsv: 8 of 8 rows have texts that are in" in text
    flags = (out / "flags.txt").read_text("utf-8")
    [part] = run_record.read(out)["parts"]
    assert (part["first_step"], part["last_step"]) == (1, 2)
    assert part["settings"]["learning_rate"] == 0.03
    assert part["versions"].keys() == {"kbert", "tensorflow", "keras"}
    assert (
        part["inputs"]["train"]
        == part["inputs"]["dev"]
        == {
            "name": "same.tsv",
            "fingerprint": _sha256(tmp_path / "same.tsv"),
        }
    )
    assert str(tmp_path) not in (out / "run.json").read_text("utf-8")

    said.clear()
    text = finetune("flipped", "--epochs=1", "--log_every=7")
    assert "weights are from" not in text
    changed = "--log_every=7 (5 before)", "--dev=flipped.tsv (same.tsv before)"
    assert said == [
        *(f"{out}: {x}, which is no change of the steps." for x in changed),
        f"{out}: 2 of 2 steps are done already.",
    ]
    assert (out / "flags.txt").read_text("utf-8") == flags
    assert run_record.read(out)["parts"] == [part]

    finetune("flipped", "--epochs=2", "--log_every=7")
    assert said[3].startswith(f"{out}: --epochs=2 (1 before): the learning-ra")
    assert said[-1] == f"{out}: resumed from step 2 of 4."
    first, second = run_record.read(out)["parts"]
    assert first == part
    assert (second["first_step"], second["last_step"]) == (3, 4)
    assert second["settings"] == {
        **part["settings"],
        **{"epochs": 2, "log_every": 7},
    }
    assert "--epochs=2" in (out / "flags.txt").read_text("utf-8")
    with pytest.raises(ValueError, match=r"--epochs=1 \(2 before\): that"):
        finetune("flipped", "--epochs=1")


@pytest.mark.slow
def test_rows_of_tokens_that_are_not_seen_decay_alone(finetune, tmp_path):
    """As in the published training, which moves all of them at each step."""
    flags = "--weight_decay=0.1", "--warmup_share=0", "--dev="
    finetune("same", *flags, "--epochs=3")
    finetune("same", *flags)  # resumes
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
    assert _validation_scores(tmp_path / "two").keys() == {3, 4}
    losses = [_validation_scores(tmp_path / x)[4][0] for x in ("two", "out")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
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
        logs = map(json.loads, lines)
        found.append([log["loss"] for log in logs if "loss" in log])
        path.rename(tmp_path / f"out{len(found)}")
    assert len(found[0]) == 4 and np.ptp(found[0]) > 0.2
    for losses in found[1:]:
        assert losses == pytest.approx(found[0], abs=1e-5)


@pytest.mark.slow
def test_a_batch_of_more_rows_than_there_are_has_them_all(finetune, tmp_path):
    finetune("same", "--batch_size=8", "--epochs=2", "--log_every=1")
    path = tmp_path / "out"
    losses = _losses(path)
    path.rename(tmp_path / "eight")
    flags = "--batch_size=1000000", "--log_every=1"
    printed = finetune("same", *flags, "--epochs=2")
    assert f"{tmp_path}/same.tsv has 8 rows; a batch has 8.\n" in printed
    assert list(losses) == [1, 2] and _losses(path) == losses
    # The record is of what ran, so that either flag resumes it.
    (part,) = run_record.read(path)["parts"]
    assert part["settings"]["batch_size"] == 8
    finetune("same", "--batch_size=8", "--epochs=3", "--log_every=1")
    assert list(_losses(path)) == [1, 2, 3]


@pytest.mark.slow
def test_parts_of_a_batch_that_has_no_rows_for_them(finetune, tmp_path):
    flags = "--batch_size=30", "--accumulate_steps=3", "--epochs=1"
    printed = finetune("same", *flags, "--strategy=mirrored")
    assert "8 rows; a batch has 12.\n" in printed  # six equal parts
    flags = "--batch_size=1000000", "--accumulate_steps=1000"
    message = "--accumulate_steps=1000: .*same.tsv has 8 rows; needs at most"
    with pytest.raises(ValueError, match=message):
        finetune("same", *flags, f"--output_dir={tmp_path}/never")
    assert not (tmp_path / "never").exists()


@pytest.mark.slow
def test_a_run_may_be_resumed_on_other_devices(finetune, tmp_path, said):
    """What changes no step, as the record has it, fits the checkpoints."""
    finetune("same", "--epochs=1")
    finetune(
        *("same", "--epochs=2", "--strategy=mirrored"),
        *("--accumulate_steps=2", "--remat", "--keep=last"),
    )
    finetune("same", "--epochs=3", "--xla", "--metric=loss", "--patience=9")
    out = tmp_path / "out"
    assert [line for line in said if ": resumed from" in line] == [
        *(f"{out}: resumed from step {x} of {x + 2}." for x in (2, 4))
    ]
    parts = run_record.read(out)["parts"]
    assert [(x["first_step"], x["last_step"]) for x in parts] == [
        *((1, 2), (3, 4), (5, 6))
    ]


# Rows of texts that differ, and of how they are learnt.
_OTHERS = {
    "embedding": (["a", "b"], ["--task=embedding", "--loss=ranking"]),
    "reranking": (["a", "b", "c"], ["--task=reranking", "--loss=list"]),
    "long texts": (
        ["a"],
        ["--label_column=label", "--long_texts=windows", "--stride=3"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", _OTHERS)
def test_rows_of_several_texts_resume_and_are_shared(name, finetune, tmp_path):
    """Bit by bit after a stop; on two replicas by the same losses."""
    columns, flags = _OTHERS[name]
    words = ["the", "film", "was", "good", "bad", "not", "very", "long"]
    rows = [
        {
            "a": " ".join(words[i:] + words * (i % 3)),
            "b": " ".join(words[i::-1]),
            "c": f"{words[i]} {words[i - 3]}",
            "label": "ab"[i % 2],
        }
        for i in range(8)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(text, "utf-8")
    flags += [
        f"--train={tmp_path}/rows.jsonl",
        "--dev=",
        f"--text_columns={','.join(columns)}",
        "--log_every=1",
        "--learning_rate=1e-3",
    ]
    for output, more in (
        ("whole", [["--epochs=3"]]),
        ("stopped", [["--epochs=1"], ["--epochs=3"]]),
        ("shared", [["--epochs=3", "--strategy=mirrored"]]),
    ):
        for options in more:
            out = f"--output_dir={tmp_path}/{output}"
            finetune("same", *flags, *options, out)
    whole, stopped = (
        folder.load(tmp_path / x / "model").model for x in ("whole", "stopped")
    )
    for weight, again in zip(whole.weights, stopped.weights, strict=True):
        np.testing.assert_array_equal(weight, again, err_msg=weight.path)
    loss = "embedding_loss" if name == "embedding" else "loss"
    losses = _losses(tmp_path / "whole", loss)
    assert len(losses) == 6 and losses[6] < losses[1]
    shared = _losses(tmp_path / "shared", loss)
    assert shared == pytest.approx(losses, rel=1e-4)


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
        lambda x: seen.append(x.shape[:-1]) or activation(x),
    )
    lengths = np.array([8, 3])[:, None]
    ids = np.ones((2, 8), "int32")
    training_model, _ = finetuning.training_model(model, None, xla)
    training_model(
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
        (["--freeze_blocks=2"], "--freeze_blocks=2: needs at most 1, the mod"),
        (
            ["--freeze_blocks=1", "--layer_decay=0.9"],
            "=1 no block is left to t",
        ),
        (["--patience=2", "--dev="], "--patience=2: the model is not scored"),
        (["--keep=best", "--dev="], "scored while it trains; needs --dev too"),
        (["--metric=bleu"], "--metric=bleu: needs loss, or a score of the ta"),
    ],
)
def test_settings_that_cannot_be(finetune, tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        finetune("same", *flags)
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_eval_every_needs_validation_data(finetune, call, tmp_path):
    message = "--{}: the model is not scored while it trains; needs {} too"
    with pytest.raises(
        ValueError, match=message.format("eval_every=4", "--dev")
    ):
        finetune("same", "--eval_every=4", "--dev=")
    pretrain = "pretrain", "--input=x", "--output_dir=none"
    with pytest.raises(
        ValueError, match=message.format("eval_every=4", "--eval_input")
    ):
        call(*pretrain, "--eval_every=4")
    with pytest.raises(
        ValueError, match=message.format("keep=best", "--eval_every")
    ):
        call(*pretrain, "--keep=best", "--eval_input=y")


def test_worst_rows_need_validation_data(finetune):
    with pytest.raises(ValueError, match="--worst=3: needs --dev too"):
        finetune("same", "--worst=3", "--dev=")


@pytest.mark.slow
def test_a_share_of_the_training_file_is_validation_data(finetune, tmp_path):
    """Rows of one text are on one side, and the run's record says so."""
    rows = [
        f"the film was {i % 20}\t{'good' if i % 3 else 'bad'}\n"
        for i in range(60)
    ]
    (tmp_path / "same.tsv").write_text("text\tlabel\n" + "".join(rows))
    flags = "--dev=", "--dev_share=0.3", "--epochs=1", "--batch_size=32"
    printed = finetune("same", *flags)
    [(train, dev)] = re.findall(
        r"same.tsv: (\d+) rows to train on, (\d+) for validation\n", printed
    )
    assert int(train) + int(dev) == 60
    assert int(train) % 3 == int(dev) % 3 == 0 < int(dev)
    counts = re.findall(r"\n\| (?:bad|good) +\| +(\d+) \| +(\d+) \|", printed)
    sums = [sum(map(int, column)) for column in zip(*counts, strict=True)]
    assert sums == [int(train), int(dev)]
    assert "rows have texts that are in" not in printed
    out = tmp_path / "out"
    report = json.loads((out / "report/report.json").read_text("utf-8"))
    assert sum(x["rows"] for x in report["classes"].values()) == int(dev)
    [part] = run_record.read(out)["parts"]
    assert part["settings"]["dev_share"] == 0.3
    with pytest.raises(ValueError, match=r"--dev_share=0.4 \(0.3 before\)"):
        finetune("same", *flags, "--dev_share=0.4")
    with pytest.raises(ValueError, match="--dev_share=0.3: --dev is given too"):
        finetune("same", "--dev_share=0.3")
