# SPDX-License-Identifier: Apache-2.0
"""kbert-pretrain that is stopped, killed, started twice or spread out."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import typing

import h5py
import numpy as np
import pytest

from kbert.data import record_writer
from kbert.runs import devices, run, run_record, stop_signals
from kbert.training import optimizer
from kbert.training.config import TrainConfig
from tests.runs import cluster

STEPS = 12


@pytest.fixture(scope="module")
def work(tmp_path_factory, record_options):
    """Records of random sentences, and a model of two narrow layers."""
    from kbert.text.vocabulary import Vocabulary

    folder = tmp_path_factory.mktemp("work")
    words = "the film was good bad not very long".split()
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    draw = random.Random(0)
    documents = [
        "\n".join(" ".join(draw.sample(words, 6)) for _ in range(8))
        for _ in range(20)
    ]
    (folder / "text.txt").write_text("\n\n".join(documents), "utf-8")
    record_writer.make_records(
        [str(folder / "text.txt")],
        str(folder / "records"),
        vocabulary=Vocabulary(tokens=(*special, *words), lower_case=True),
        options=record_options,
    )
    config = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 24,
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def _flags(work, output, **flags):
    given = {
        "input": work / "records",
        "model_config": work / "config.json",
        "output_dir": work / output,
        "batch_size": 8,
        "steps": STEPS,
        "learning_rate": 1e-2,
        "log_every": 4,
        "save_every": 4,
        "dtype": "float32",
        **flags,
    }
    return [f"--{name}={value}" for name, value in given.items()]


def _weights(folder):
    """All numbers of the trained model, by name."""
    weights = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            weights[name] = item[()]

    with h5py.File(folder / "model" / "model.weights.h5") as file:
        file.visititems(keep)
    return weights


def _assert_same_bits(one, two):
    one, two = _weights(one), _weights(two)
    assert one.keys() == two.keys() and len(one) > 30
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name], err_msg=name)


def _history(folder):
    lines = (folder / "history.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _validation_losses(folder):
    """The step and both losses of each score."""
    return [
        (line["step"], [line[f"held_out_{x}_loss"] for x in ("mlm", "nsp")])
        for line in _history(folder)
        if "held_out_mlm_loss" in line
    ]


def test_the_config_offers_what_there_is():
    types = typing.get_type_hints(TrainConfig)
    names = ("strategy", "optimizer", "schedule", "dtype")
    assert {name: typing.get_args(types[name]) for name in names} == {
        "strategy": devices.STRATEGIES,
        "optimizer": tuple(run.OPTIMIZERS),
        "schedule": optimizer.DECAYS,
        "dtype": tuple(run.POLICIES),
    }


def test_what_has_new_weights_is_said_with_what_has_not(capsys):
    run.print_initialized("minilm", ["pooler", "classifier"])
    run.print_initialized("films/model", [])
    assert capsys.readouterr().out == (
        "newly initialized: pooler, classifier; all other weights are from "
        "minilm\nall weights are from films/model\n"
    )


@pytest.mark.slow
def test_a_run_with_every_option_can_be_repeated(work, call):
    given = {
        "optimizer": "lamb",
        "schedule": "cosine",
        "layer_decay": 0.9,
        "ema_decay": 0.9,
        "remat": True,
        "accumulate_steps": 2,
        "peak_tflops": 1,
    }
    call("pretrain", *_flags(work, "first", **given))
    call(
        "pretrain",
        f"--flagfile={work / 'first/flags.txt'}",
        f"--output_dir={work / 'again'}",
        "--ema_decay=0",
    )
    first, again = (_history(work / name) for name in ("first", "again"))
    for one, other in zip(first, again, strict=True):
        assert one["mlm_loss"] == other["mlm_loss"]
        assert 0 < one["flop_utilization"] < 1
    # What is saved are averages, or the last weights themselves.
    one, other = _weights(work / "first"), _weights(work / "again")
    name = next(name for name in one if one[name].shape == (13, 16))
    assert np.abs(one[name] - other[name]).max() > 1e-4


# Two devices, and SIGKILL within the second checkpoint's write.
KILLED = """
import os, signal, sys
import tensorflow as tf
from kbert.bin import pretrain
from kbert.training import checkpoints

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
rename = os.rename

def kill_at_step_8(old, new):
    if str(new).endswith("step-00000008"):
        os.kill(os.getpid(), signal.SIGKILL)
    rename(old, new)

checkpoints.os.rename = kill_at_step_8
pretrain.flags.FLAGS(["pretrain", *sys.argv[1:]])
sys.argv = ["kbert.bin.pretrain"]
pretrain.main(["pretrain"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["one_device", "mirrored"])
def test_a_killed_run_ends_as_if_it_had_not_been(work, call, strategy):
    whole, killed = f"whole_{strategy}", f"killed_{strategy}"
    how = {"strategy": strategy, "accumulate_steps": 2}
    how |= {"eval_input": work / "records", "eval_every": 4}
    call("pretrain", *_flags(work, whole, **how))
    command = [sys.executable, "-c", KILLED, *_flags(work, killed, **how)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    folder = work / killed / "checkpoints"
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 2 and names[0].startswith(".kbert-")
    assert names[1] == "step-00000004"
    call("pretrain", *_flags(work, killed, **how))
    _assert_same_bits(work / whole, work / killed)
    histories = [_validation_losses(work / name) for name in (whole, killed)]
    assert histories[0] == histories[1]
    assert [step for step, _ in histories[0]] == [4, 8, 12]
    steps = [line["step"] for line in _history(work / killed)]
    assert steps == [4, 4, 8, 8, 12, 12]


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGTERM, "SIGTERM"),
        pytest.param(signal.SIGINT, "Ctrl-C", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_gets_a_signal_saves(work, call, capsys, number, name):
    flags = _flags(work, name, strategy="one_device", steps=100_000)
    history = work / name / "history.jsonl"

    def stop():
        while not history.exists() or not history.stat().st_size:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    with pytest.raises(SystemExit) as info:
        call("pretrain", *flags)
    thread.join()
    assert info.value.code == stop_signals.EXIT_CODE == 75
    step = _history(work / name)[-1]["step"]
    assert (work / name / "checkpoints" / f"step-{step:08}").is_dir()
    assert f"{name}: saved at step {step:,};" in capsys.readouterr().err
    assert not (work / name / "model").exists()
    assert "tokens_per_second" in _history(work / name)[-1]
    [part] = run_record.read(work / name)["parts"]
    assert (part["first_step"], part["last_step"]) == (1, step)


def test_a_second_run_in_a_folder_is_refused(work, call):
    (work / "taken").mkdir()
    with (work / "taken" / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="taken: another run is using it"):
            call("pretrain", *_flags(work, "taken"))
    assert not (work / "taken" / "flags.txt").exists()


@pytest.mark.parametrize("parts", [{"accumulate_steps": 3}, {"batch_size": 7}])
def test_a_batch_that_is_not_divided_is_refused(work, call, parts):
    flags = _flags(work, "undivided", strategy="mirrored", **parts)
    with pytest.raises(ValueError, match="--batch_size=. is not a multiple of"):
        call("pretrain", *flags)
    assert not (work / "undivided").exists()


@pytest.mark.slow
def test_two_workers_reach_what_one_does(work, call):
    how = {"dropout": 0, "accumulate_steps": 2, "eval_input": work / "records"}
    how |= {"eval_every": 5, "patience": 3, "ema_decay": 0.9, "log_every": 1}
    # Clipped far below Adam's epsilon, gradients are divided by little else:
    # those that are mostly rounding error, which differs, stay small.
    how |= {"clip_norm": 1e-7, "learning_rate": 1}
    flags = _flags(work, "two", strategy="multi_worker", **how)
    ports = cluster.free_ports(2)
    workers = [
        cluster.start("pretrain", flags, index, ports) for index in (0, 1)
    ]
    call("pretrain", *_flags(work, "alone", strategy="one_device", **how))
    for worker in workers:
        _, err = worker.communicate(timeout=100)
        assert worker.returncode == 0, err
    two, one = _weights(work / "two"), _weights(work / "alone")
    for name, values in one.items():
        # Less the keys' biases: their true gradient is 0.
        mine, theirs = (
            np.delete(x, np.s_[16:32]) if x.shape == (48,) else x
            for x in (two[name], values)
        )
        error = np.abs(mine - theirs).max() / np.abs(theirs).max()
        assert error <= 1e-5, f"{name} is off by {error:.1e}"
    for ours, theirs in zip(
        _history(work / "two"), _history(work / "alone"), strict=True
    ):
        assert ours.keys() == theirs.keys()
        # The gradient's norm is the one before it is clipped.
        compared = {"mlm_loss", "gradient_norm", "held_out_mlm_loss"}
        for name in ours.keys() & compared:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-6)
    assert [step for step, _ in _validation_losses(work / "two")] == [5, 10, 12]


@pytest.mark.slow
def test_workers_stop_together(work):
    flags = _flags(work, "stopped", strategy="multi_worker", steps=100_000)
    ports = cluster.free_ports(2)
    workers = [
        cluster.start("pretrain", flags, index, ports) for index in (0, 1)
    ]
    history = work / "stopped" / "history.jsonl"
    while not history.exists() or not history.stat().st_size:
        assert workers[0].poll() is None and workers[1].poll() is None
        time.sleep(0.1)
    workers[1].terminate()
    ends = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [75, 75], ends


@pytest.mark.slow
def test_a_worker_that_waits_hears_sigterm(work):
    ports = cluster.free_ports(2)
    flags = _flags(work, "waits", strategy="multi_worker")
    worker = cluster.start("pretrain", flags, 0, ports)
    time.sleep(15)
    assert worker.poll() is None
    worker.terminate()
    worker.communicate(timeout=5)
    assert worker.returncode == 75


@pytest.mark.slow
def test_a_worker_whose_peer_dies_ends(work):
    flags = _flags(work, "dies", strategy="multi_worker", steps=100_000)
    ports = cluster.free_ports(2)
    workers = [
        cluster.start("pretrain", flags, index, ports) for index in (0, 1)
    ]
    history = work / "dies" / "history.jsonl"
    while not history.exists() or not history.stat().st_size:
        assert workers[0].poll() is None and workers[1].poll() is None
        time.sleep(0.1)
    workers[1].kill()
    _, err = workers[0].communicate(timeout=100)
    workers[1].communicate()
    assert workers[0].returncode == 1, err
    assert "A worker of TF_CONFIG is gone" in err
    assert "Traceback" not in err
