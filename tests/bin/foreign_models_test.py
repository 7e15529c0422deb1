# SPDX-License-Identifier: Apache-2.0
"""Each command on a Hugging Face folder, with no kbert-convert before it."""

import json

import pytest
import tensorflow as tf

from kbert.checkpoints import folder, huggingface
from kbert.checkpoints.folder import LoadedModel
from kbert.runs import run_record
from kbert.tasks import TaskSpec
from kbert.tasks.predictor import make_predictor

TEXTS = ["the film was good", "the film was bad", "not very long ."]


@pytest.fixture
def loaded(build, tiny_config, vocabulary):
    """A classifier whose weights tell texts apart."""
    spec = TaskSpec(
        task="classification", max_seq_length=12, labels=("bad", "good")
    )
    return LoadedModel(build(spec), tiny_config, vocabulary, spec)


@pytest.fixture
def hugging_face(loaded, tmp_path):
    huggingface.save(loaded, tmp_path / "hf", report=lambda line: None)
    return tmp_path / "hf"


@pytest.fixture
def answers(loaded):
    server = make_predictor(
        loaded.model, vocabulary=loaded.vocabulary, spec=loaded.spec
    )
    return server.predict(TEXTS)


@pytest.fixture
def table(tmp_path, answers):
    """The texts with what the model says of them, but for the last."""
    labels = [row["label"] for row in answers]
    labels[-1] = "good" if labels[-1] == "bad" else "bad"
    rows = [f"{x}\t{y}\n" for x, y in zip(TEXTS, labels, strict=True)]
    (tmp_path / "rows.tsv").write_text("text\tlabel\n" + "".join(rows))
    return tmp_path / "rows.tsv"


def _probabilities(answers):
    return [row["probabilities"] for row in answers]


@pytest.mark.slow
def test_predict_and_evaluate(call, hugging_face, answers, table):
    """The line about the format is on stderr, apart from the answers."""
    model = f"--model={hugging_face}"
    said = call("predict", model, *[f"--text={text}" for text in TEXTS])
    got = [json.loads(line) for line in said.splitlines()]
    for row, want in zip(got, answers, strict=True):
        assert row["label"] == want["label"]
        assert row["probabilities"] == pytest.approx(
            want["probabilities"], abs=1e-5
        )
    printed = call("evaluate", model, f"--input={table}", "--text_columns=text")
    assert "accuracy: 0.6667\n" in printed
    with pytest.raises(ValueError, match="True, but --lower_case is False"):
        call("predict", model, "--text=a", "--nolower_case")


def test_fine_tuning_starts_from_it(call, loaded, hugging_face, table):
    """With the losses of a run that starts from the same kbert model."""
    folder.save(
        table.parent / "kbert",
        loaded.model,
        config=loaded.config,
        vocabulary=loaded.vocabulary,
        spec=loaded.spec,
    )
    losses, runs = [], []
    for init in ("hf", "kbert"):
        out = table.parent / f"from_{init}"
        flags = [f"--init={table.parent / init}", f"--train={table}"]
        flags += ["--text_columns=text", f"--output_dir={out}", "--epochs=1"]
        call("finetune", *flags, "--max_seq_length=8", "--batch_size=2")
        [*_, last] = (out / "history.jsonl").read_text("utf-8").splitlines()
        losses.append(json.loads(last)["loss"])
        runs.append(run_record.read(out)["parts"][0]["inputs"]["init"])
    assert losses[0] == losses[1]
    assert [run["name"] for run in runs] == ["hf", "kbert"]
    assert len({run["fingerprint"] for run in runs}) == 2


def test_pre_training_starts_from_it(
    call, build, tiny_config, vocabulary, records, tmp_path
):
    spec = TaskSpec(task="pretraining", max_seq_length=16, num_texts=2)
    loaded = LoadedModel(build(spec), tiny_config, vocabulary, spec)
    huggingface.save(loaded, tmp_path / "hf", report=lambda line: None)
    said = call(
        "pretrain",
        *(f"--init={tmp_path}/hf", f"--input={records}"),
        *(f"--output_dir={tmp_path}/out", "--steps=1", "--learning_rate=1e-20"),
        "--batch_size=4",
    )
    assert f"all weights are from {tmp_path}/hf\n" in said
    trained = folder.load(tmp_path / "out/model").model
    for got, want in zip(trained.weights, loaded.model.weights, strict=True):
        tf.debugging.assert_near(got.value, want.value, atol=1e-6)


@pytest.mark.slow
def test_exporting_it(call, hugging_face, answers, tmp_path):
    call("export", f"--model={hugging_face}", f"--output_dir={tmp_path}/out")
    served = tf.saved_model.load(f"{tmp_path}/out/1")
    got = served.signatures["serving_default"](text=tf.constant(TEXTS))
    want = [list(row.values()) for row in _probabilities(answers)]
    tf.debugging.assert_near(got["probabilities"], want, atol=1e-5)
