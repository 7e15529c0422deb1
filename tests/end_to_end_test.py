# SPDX-License-Identifier: Apache-2.0
"""Raw text to the answer of an export, through the commands themselves."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

_ASK = """
import json, sys
import tensorflow as tf
import tensorflow_text
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
answers = serve(text=tf.constant(sys.argv[2:]))
assert "kbert" not in sys.modules
print(json.dumps(answers["probabilities"].numpy().tolist()))
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Forty documents, each about one of two things, and labelled lines."""
    folder = tmp_path_factory.mktemp("work")
    draw = random.Random(0)
    kinds = {
        "good": "a warm bright gentle film that moves us".split(),
        "bad": "the cold dull noisy story which bores them".split(),
    }

    def sentence(kind):
        return " ".join(draw.sample(kinds[kind], 6)) + " ."

    documents = [
        "\n".join(sentence(kind) for _ in range(8))
        for kind in ("good", "bad") * 20
    ]
    (folder / "text.txt").write_text("\n\n".join(documents), "utf-8")
    for name in ("train", "dev"):
        rows = [f"{sentence(k)}\t{k}" for k in ("good", "bad") * 24]
        text = "\n".join(["sentence\tlabel", *rows]) + "\n"
        (folder / f"{name}.tsv").write_text(text, "utf-8")
    config = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 32,
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def test_the_whole_journey(work, call):
    def command(name, *arguments, **flags):
        flags = [f"--{flag}={value}" for flag, value in flags.items()]
        return call(name, *arguments, *flags)

    command(
        "make_vocab",
        input=work / "text.txt",
        output_dir=work / "vocab",
        vocab_size=100,
    )
    command(
        "make_records",
        input=work / "text.txt",
        vocab=work / "vocab/vocab.txt",
        output_dir=work / "records",
        max_seq_length=32,
        max_predictions=5,
        num_shards=2,
    )
    pretraining = {
        "input": work / "records",
        "eval_input": work / "records",
        "model_config": work / "config.json",
        "output_dir": work / "pretrain",
        "batch_size": 8,
        "learning_rate": 3e-3,
        "log_every": 20,
    }
    command("pretrain", steps=40, **pretraining)
    scores = json.loads((work / "pretrain/evaluation.json").read_text())
    before, after = scores["before"], scores["after"]
    assert after["mlm_loss"] < before["mlm_loss"] - 0.5
    # To small random weights all tokens are alike.
    tokens = (work / "vocab/vocab.txt").read_text("utf-8").splitlines()
    assert before["mlm_perplexity"] == pytest.approx(len(tokens), rel=0.1)
    assert "--batch_size=8" in (work / "pretrain/flags.txt").read_text()

    (work / "pretrain/model/LICENSE").write_text("theirs", "utf-8")
    finetuning = {
        "init": work / "pretrain/model",
        "train": work / "train.tsv",
        "text_columns": "sentence",
        "max_seq_length": 32,
        "batch_size": 8,
        "learning_rate": 2e-3,
        "dropout": 0,
        "epochs": 12,
    }
    command(
        "finetune",
        dev=work / "dev.tsv",
        output_dir=work / "finetune",
        **finetuning,
    )
    scores = json.loads((work / "finetune/evaluation.json").read_text())
    assert scores["accuracy"] > 0.9
    assert (work / "finetune/model/LICENSE").read_text("utf-8") == "theirs"
    evaluated = command(
        "evaluate",
        model=work / "finetune/model",
        input=work / "dev.tsv",
        text_columns="sentence",
    )
    assert f"accuracy: {scores['accuracy']:.4f}" in evaluated

    texts = ["a gentle film", "the dull story", "ünd ?"]
    predicted = command(
        "predict",
        *[f"--text={text}" for text in texts],
        model=work / "finetune/model",
    )
    live = [json.loads(line) for line in predicted.splitlines()]
    assert [row["label"] for row in live[:2]] == ["good", "bad"]
    command("export", model=work / "finetune/model", output_dir=work / "export")
    for name in ("finetune", "pretrain", "vocab", "records"):
        shutil.rmtree(work / name)
    served = subprocess.run(
        [sys.executable, "-c", _ASK, str(work / "export/1"), *texts],
        cwd=work,
        check=True,
        capture_output=True,
        text=True,
    )
    for got, want in zip(json.loads(served.stdout), live, strict=True):
        want = [want["probabilities"][label] for label in ("bad", "good")]
        assert got == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("pretrain", {"input": "none*"}, "one of --model_config and --init"),
        pytest.param(
            "pretrain",
            {"input": "none*", "model_config": "tiny"},
            "No file matches 'none*'",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "finetune",
            {
                "init": "{work}/none",
                "train": "{work}/train.tsv",
                "text_columns": "sentence",
            },
            "no such folder or checkpoint",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "evaluate",
            {"model": "{work}/none", "input": "x.tsv"},
            "no such folder",
            marks=pytest.mark.slow,
        ),
        (
            "pretrain",
            {"input": "x", "batch_size": "none"},
            "--batch_size",
        ),
    ],
)
def test_bad_input_is_one_line(work, name, flags, message):
    flags = {k: v.format(work=work) for k, v in flags.items()}
    if name != "evaluate":
        flags["output_dir"] = work / "nothing"
    done = subprocess.run(
        [
            *(sys.executable, "-m", f"kbert.bin.{name}"),
            *(f"--{flag}={value}" for flag, value in flags.items()),
        ],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    command = f"kbert-{name}: error: "
    assert done.stderr.startswith(command) and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (work / "nothing").exists()
