# SPDX-License-Identifier: Apache-2.0
"""Pre-training on records of all kinds, through the commands."""

import dataclasses
import json
import re
import types

import h5py
import numpy as np
import pytest

from kbert import models
from kbert.checkpoints import folder
from kbert.data import record_sets, records
from kbert.data.masking import Masking
from kbert.runs import console, pretraining, scoring, trained_model
from kbert.tasks import TaskSpec
from kbert.training.config import PretrainConfig

MASKING = ("--max_predictions=2", "--whole_words", "--max_ngram=2")


@pytest.fixture
def config(tiny_config):
    return dataclasses.replace(tiny_config, num_hidden_layers=1)


@pytest.fixture
def pretrain(tmp_path, config, vocabulary, call):
    """Runs four steps on records that have nothing next to them."""
    config.to_json(tmp_path / "config.json")
    vocabulary.save(tmp_path / "vocab")

    def pretrain(name, *more, begin="--model_config={}/config.json"):
        return call(
            "pretrain",
            begin.format(tmp_path),
            f"--output_dir={tmp_path}/{name}",
            "--steps=4",
            "--batch_size=4",
            "--save_every=2",
            "--log_every=1",
            *(more if "--init" in begin else [_vocab(tmp_path), *more]),
        )

    return pretrain


def _vocab(folder):
    return f"--vocab={folder}/vocab/vocab.txt"


@pytest.fixture
def packed(tmp_path):
    """Unmasked rows of one to three texts, without labels."""
    draw = np.random.default_rng(1)
    token_ids = draw.integers(5, 15, (10, 16))
    padding_mask = np.ones((10, 16), int)
    padding_mask[::2, 5:] = 2
    padding_mask[::4, 12:] = 3
    padding_mask[1, 9:] = 0
    first = np.diff(padding_mask, axis=1, prepend=0) > 0
    token_ids[first] = 2
    token_ids[np.roll(first, -1, 1)] = 3
    rows = {
        "token_ids": token_ids,
        "padding_mask": padding_mask,
        "segment_ids": np.zeros((10, 16)),
    }
    path = tmp_path / "packed.tfrecord"
    records.write(str(path), [records.serialize(rows)])
    return f"--input={path}", f"--eval_input={path}"


@pytest.fixture
def published(tmp_path, batch):
    """Masked rows with labels."""
    path = tmp_path / "published.tfrecord"
    _write_masked(path, batch, mask_id=9)
    return f"--input={path}"


def _write_masked(path, batch, mask_id):
    rows = {
        **{name: np.tile(rows, (2, 1)) for name, rows in batch.items()},
        "mask_ids": np.full((6, 2), mask_id),
        "mask_weights": np.tile([[1, 1], [1, 1], [1, 0]], (2, 1)),
        "next_sentence_labels": np.arange(6) % 2,
    }
    rows["mask_weights"] = rows["mask_weights"].astype("float32")
    records.write(str(path), [records.serialize(rows)])


def _weights(path):
    with h5py.File(path / "model" / "model.weights.h5") as file:
        arrays = {}
        file.visititems(
            lambda name, item: (
                arrays.update({name: item[()]})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return arrays


def _losses(path):
    """Of each log, without the speeds."""
    lines = (path / "history.jsonl").read_text().splitlines()
    return [(log["step"], log["mlm_loss"]) for log in map(json.loads, lines)]


class _Killed(Exception):
    pass


@pytest.mark.slow
def test_a_run_on_unmasked_packed_rows_resumes_as_it_was(
    pretrain, packed, tmp_path, monkeypatch, call
):
    out = pretrain("whole", *packed, *MASKING)
    assert "validation, after: mlm loss" in out and "nsp" not in out

    def kill(self, what, step, steps):
        if step == 3:
            raise _Killed

    with monkeypatch.context() as patched:
        patched.setattr(console.Progress, "__call__", kill)
        with pytest.raises(_Killed):
            pretrain("stopped", packed[0], *MASKING)
    pretrain("stopped", packed[0], *MASKING)
    one, other = (_losses(tmp_path / name) for name in ("whole", "stopped"))
    assert one == other
    whole, resumed = (_weights(tmp_path / n) for n in ("whole", "stopped"))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value)

    found = folder.load(tmp_path / "whole" / "model")
    assert (found.spec.task, found.spec.num_texts) == ("masked_lm", 1)
    assert list(found.model.output) == ["mlm_logits"]
    scores = json.loads((tmp_path / "whole" / "evaluation.json").read_text())
    assert scores["after"].keys() == {
        *("mlm_loss", "mlm_accuracy", "mlm_label_entropy"),
        "mlm_perplexity",
    }
    call(
        "evaluate",
        f"--model={tmp_path}/whole/model",
        packed[0],
        *MASKING,
        "--batch_size=3",
        f"--output={tmp_path}/scores.json",
    )
    again = json.loads((tmp_path / "scores.json").read_text())
    assert again == pytest.approx(scores["after"], rel=1e-6)


@pytest.mark.slow
def test_a_head_that_is_not_trained_is_dropped_and_named(
    pretrain, packed, tmp_path, config, vocabulary
):
    folder.save(
        tmp_path / "both",
        models.build_pretrainer(config),
        config=config,
        vocabulary=vocabulary,
        spec=TaskSpec(task="pretraining", max_seq_length=16, num_texts=2),
    )
    begin = "--init={}/both"
    out = pretrain("next", packed[0], *MASKING, begin=begin)
    [line] = re.findall(r".*/both: left over: (.*)", out)
    assert set(line.split(", ")) == {"pooler", "nsp"}
    assert "newly initialized" not in out


@pytest.mark.slow
def test_a_resumed_run_initializes_nothing(
    pretrain, published, tmp_path, config, vocabulary
):
    """Its weights, those of new heads too, are its checkpoint's."""
    folder.save(
        tmp_path / "mlm",
        models.build_pretrainer(config, ["mlm_logits"]),
        config=config,
        vocabulary=vocabulary,
        spec=TaskSpec(task="masked_lm", max_seq_length=16),
    )
    begin = "--init={}/mlm"
    first = pretrain("out", published, "--steps=1", begin=begin)
    assert "newly initialized: pooler, nsp; all other weights are" in first
    resumed = pretrain("out", published, "--steps=2", begin=begin)
    assert "initialized" not in resumed and "weights are" not in resumed


@pytest.mark.slow
def test_a_run_on_other_records_is_not_resumed(
    pretrain, published, tmp_path, config, vocabulary, monkeypatch
):
    """Nor is one whose schedule is another; steps may be added."""
    out = tmp_path / "out"
    first = published.replace("--input", "--eval_input")
    pretrain("out", published, first, "--steps=2")
    scores = json.loads((out / "evaluation.json").read_text())
    before = (out / "run.json").read_bytes(), (out / "flags.txt").read_bytes()
    reversed_ids = vocabulary.tokens[::-1]
    dataclasses.replace(vocabulary, tokens=reversed_ids).save(tmp_path)
    other = tmp_path / "other.tfrecord"
    other.write_bytes((tmp_path / "published.tfrecord").read_bytes() * 2)
    for flag, was in {
        f"--input={other}": "published.tfrecord",
        "--learning_rate=0.5": "0.0001",
        "--seed=3": "0",
        "--batch_size=2": "4",
        "--steps=1": "2",
        f"--vocab={tmp_path}/vocab.txt": "with another content",
    }.items():
        shown = flag.replace(f"{tmp_path}/", "")
        message = f"/out: .* resumed with {shown} .{was} before.: that would"
        with pytest.raises(ValueError, match=message):
            pretrain("out", published, "--steps=2", flag)
    wider = dataclasses.replace(config, intermediate_size=40)
    wider.to_json(tmp_path / "config.json")
    message = r"--model_config=config.json \(with another content before\): "
    with pytest.raises(ValueError, match=message):
        pretrain("out", published, "--steps=2")
    config.to_json(tmp_path / "config.json")
    assert before == (
        *((out / "run.json").read_bytes(), (out / "flags.txt").read_bytes()),
    )
    said = []
    monkeypatch.setattr(console, "print_message", said.append)
    pretrain("out", published, f"--eval_input={other}", "--steps=3")
    assert said[-1] == f"{out}: resumed from step 2 of 3."
    found = json.loads((out / "evaluation.json").read_text())
    # The file has the same rows, each twice: scored again, as at first.
    assert found["data"] != scores["data"]
    assert found["before"] == pytest.approx(scores["before"], rel=1e-4)
    assert (found["step"], found["kept"]) == (3, "last")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: not JSON"),
        ("[]", r": \[\]; needs an object"),
        ("[" * 100_000, ":1: JSON that is nested more than 100 levels deep"),
        ('{"step": "4"}', ': step is "4"; needs a whole number'),
        ('{"data": []}', r": data is \[\]; needs a string"),
        ('{"before": [1]}', r": before is \[1\]; needs an object"),
        ('{"before": {"mlm_loss": "1"}}', ': before.mlm_loss is "1"; needs a'),
    ],
)
def test_damaged_scores_are_named(text, message, tmp_path):
    (tmp_path / "evaluation.json").write_text(text)
    config = PretrainConfig(output_dir=str(tmp_path))
    with pytest.raises(ValueError, match=f"evaluation.json{message}"):
        trained_model.read_evaluation(config)


def test_a_score_that_was_no_number_is_printed_again(tmp_path, capsys):
    (tmp_path / "evaluation.json").write_text(
        '{"data": "x", "before": {"mlm_loss": null, "mlm_accuracy": 0.5}}'
    )
    config = PretrainConfig(output_dir=str(tmp_path))
    score = types.SimpleNamespace(data="x")
    pretraining._score(score, "before", config)
    printed = capsys.readouterr().out
    assert printed == "validation, before: mlm loss nan, mlm accuracy 0.5000\n"


def test_a_batch_of_more_rows_than_there_are_has_them_all(
    pretrain, published, tmp_path
):
    flags = "--batch_size=1000000", "--steps=1"
    printed = pretrain("out", published, *flags)
    assert "published.tfrecord has 6 rows; a batch has 6.\n" in printed
    (part,) = json.loads((tmp_path / "out/run.json").read_text())["parts"]
    assert part["settings"]["batch_size"] == 6


@pytest.mark.slow
def test_the_best_step_is_kept_or_the_last(
    pretrain, published, batch, tmp_path
):
    """All held-out words are another one: each step is a worse model."""
    out = tmp_path / "out"
    _write_masked(tmp_path / "eval.tfrecord", batch, mask_id=8)
    flags = [published, f"--eval_input={tmp_path}/eval.tfrecord"]
    flags += ["--eval_every=1", "--learning_rate=0.1", "--schedule=constant"]

    def evaluation(*more):
        printed = pretrain("out", *flags, "--steps=2", *more)
        return printed, json.loads((out / "evaluation.json").read_text())

    printed, best = evaluation()
    lines = (out / "history.jsonl").read_text("utf-8").splitlines()
    losses = [
        log["held_out_mlm_loss"]
        for log in map(json.loads, lines)
        if "held_out_mlm_loss" in log
    ]
    assert losses[0] < losses[1]
    assert (best["step"], best["kept"]) == (1, "best")
    assert best["after"]["mlm_loss"] == pytest.approx(losses[0], rel=1e-5)
    assert "out/model: the trained model, of step 1, the best: " in printed
    printed, last = evaluation("--keep=last")
    assert (last["step"], last["kept"]) == (2, "last")
    assert last["after"]["mlm_loss"] == pytest.approx(losses[1], rel=1e-5)
    assert "of step 2, the last: " in printed


def test_flags_of_masking_that_do_not_fit_the_records(
    pretrain, packed, published
):
    with pytest.raises(ValueError, match=r"packed\.tfrecord: .*not masked"):
        pretrain("out", packed[0])
    with pytest.raises(
        ValueError, match="max_predictions is None; needs at least 1"
    ):
        pretrain("out", packed[0], "--masked_lm_prob=0.2")
    message = r"max_predictions is 17; needs at most 16, .*packed\.tfrecord"
    with pytest.raises(ValueError, match=message):
        pretrain("out", packed[0], "--max_predictions=17")
    for flag in (*MASKING, "--masked_lm_prob=0.15"):
        flags = {"--max_predictions=2", flag}
        message = r"published\.tfrecord: its rows are masked already"
        with pytest.raises(ValueError, match=message):
            pretrain("out", published, *flags)


@pytest.mark.slow
def test_outputs_are_scored_where_the_records_have_labels(
    packed, published, config, vocabulary
):
    masking = Masking(
        max_predictions=2, masked_lm_prob=0.2, whole_words=False, max_ngram=1
    )
    sets = [
        record_sets.find(flag.partition("=")[2], vocabulary=vocabulary)
        for flag in (packed[0], published)
    ]
    two_heads = models.build_pretrainer(config, packed=True)
    one_head = models.build_pretrainer(config, ["mlm_logits"])
    for model, found in zip((two_heads, one_head), sets, strict=True):
        scores = scoring.RecordScores(model, found, 4, masking)
        names = {*scores(), *scores.label_entropies}
        assert {name[:3] for name in names} == {"mlm"}
