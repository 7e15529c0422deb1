# SPDX-License-Identifier: Apache-2.0
"""What is kept, what is taken up again, and what a full disk leaves."""

import resource
import shutil

import numpy as np
import pytest
import tensorflow as tf

from kbert.training.checkpoints import Checkpoints


@pytest.fixture
def run(tmp_path):
    """Checkpoints of one large variable, the variable, and what was said."""
    variable = tf.Variable(tf.zeros(100_000))
    said = []
    checkpoints = Checkpoints(
        tmp_path, {"model": [variable]}, keep=2, on_message=said.append
    )
    return checkpoints, variable, said


def _save(run, *steps):
    for step in steps:
        run[1].assign(tf.fill([100_000], float(step)))
        run[0].save(step)


def _restored(run):
    run[1].assign(tf.fill([100_000], -1.0))
    run[0].restore()
    return set(run[1].numpy())


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_are_kept_and_the_newest_is_taken_up(run, tmp_path):
    assert _restored(run) == {-1.0}
    _save(run, 5, 10, 15)
    assert _names(tmp_path) == ["step-00000010", "step-00000015"]
    assert _restored(run) == {15.0}


def test_the_best_is_kept_with_the_newest(run, tmp_path):
    _save(run, 5)
    run[0].keep_best(5)
    _save(run, 10, 15)
    assert _names(tmp_path) == [
        *("step-00000005", "step-00000010", "step-00000015")
    ]
    assert _restored(run) == {15.0}
    assert run[0].restore_step(5) and set(run[1].numpy()) == {5.0}
    run[0].keep_best(15)
    assert _names(tmp_path) == ["step-00000010", "step-00000015"]


def test_a_damaged_best_is_reported_and_the_newest_restored(run, tmp_path):
    _save(run, 5)
    run[0].keep_best(5)
    _save(run, 10, 15)
    (tmp_path / "step-00000005" / "state.index").write_bytes(b"x" * 100)
    assert not run[0].restore_step(5)
    (line,) = run[2]
    assert "step-00000005: damaged" in line and "\n" not in line
    assert _restored(run) == {15.0}
    shutil.rmtree(tmp_path / "step-00000005")
    assert not run[0].restore_step(5)
    assert "step-00000005: does not exist" in run[2][-1]


@pytest.mark.parametrize("damage", ["cut", "flip", "index", "gone", "empty"])
def test_a_damaged_one_gives_way_to_the_one_before(run, tmp_path, damage):
    _save(run, 5, 10)
    folder = tmp_path / "step-00000010"
    file = folder / "state.data-00000-of-00001"
    data = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "index":
        index = folder / "state.index"
        index.write_bytes(index.read_bytes()[:-20])
    else:
        for path in [file] if damage == "gone" else list(folder.iterdir()):
            path.unlink()
    assert _restored(run) == {5.0}
    (line,) = run[2]
    assert str(folder) in line and "resuming from step-00000005" in line
    assert _names(tmp_path) == ["step-00000005", "step-00000010.damaged"]
    _save(run, 10, 15)
    assert _restored(run) == {15.0}


def test_if_none_is_whole_the_run_does_not_begin_again(run, tmp_path):
    _save(run, 5)
    (tmp_path / "step-00000005" / "state.index").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="step-00000005: damaged .* no older"):
        run[0].restore()


def test_a_full_disk_leaves_the_last_one(run, tmp_path):
    _save(run, 5)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="step-00000010: not written") as info:
            _save(run, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "the last checkpoint is step-00000005." in str(info.value)
    assert "\n" not in str(info.value)
    assert _names(tmp_path) == ["step-00000005"]
    assert _restored(run) == {5.0}


def test_a_partial_one_is_not_taken_up(run, tmp_path):
    _save(run, 5)
    (tmp_path / ".kbert-0123456789abcdef").mkdir()  # a killed run's
    assert _restored(run) == {5.0}
    _save(run, 10)
    assert _names(tmp_path) == ["step-00000005", "step-00000010"]
    assert np.isfinite(run[1].numpy()).all()
