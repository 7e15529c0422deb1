# SPDX-License-Identifier: Apache-2.0
"""The best step by a metric, and the end of patience, however often stopped."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert import features
from kbert.tasks.regression import head as regression_head
from kbert.training import history, loop
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.plan import HeldOut, Plan, Watcher

# It rises, falls, comes back to where it was and is better too late.
ACCURACIES = {2: 0.5, 4: 0.7, 6: 0.6, 8: 0.7, 10: math.nan, 12: 0.9, 14: 0.8}


def _trainer():
    keras.utils.set_random_seed(1)
    mask = keras.Input((3,), name="padding_mask", dtype="int32")
    number = keras.layers.Dense(1)(keras.ops.cast(mask, "float32"))
    number = keras.layers.Dropout(0.3)(number)
    outputs = {features.VALUE: keras.ops.squeeze(number, -1)}
    return loop.Trainer(
        keras.Model({"padding_mask": mask}, outputs),
        losses=regression_head.losses(),
        metrics=regression_head.metrics(),
        optimizer=FusedAdamW(1e-2),
    )


def _batches(_):
    inputs = {"padding_mask": np.eye(3, dtype="int32")}
    labels = {features.VALUE: np.array([1.0, 2.0, 3.0], "float32")}
    return tf.data.Dataset.from_tensors((inputs, labels)).repeat()


class _Killed(Exception):
    pass


@pytest.fixture
def fit(tmp_path):
    """Twenty steps at most; says what was scored and said."""

    def fit(folder, stop_at=None, kill_at=None, data="", **asked):
        trainer, scored, said = _trainer(), [], []
        accuracies = asked.pop("accuracies", ACCURACIES)

        def score():
            step = int(trainer.step.numpy())
            if step == kill_at:
                raise _Killed
            scored.append(step)
            return {"loss": float(step), "accuracy": accuracies[step]}

        plan = Plan(
            output_dir=tmp_path / folder,
            log_every=100,
            save_every=100,
            keep_checkpoints=1,
            **{"steps": 20, "patience": 3, **asked},
        )
        ended = loop.fit(
            trainer,
            _batches,
            plan,
            Watcher(
                say=said.append,
                should_stop=lambda: trainer.step.numpy() == stop_at,
            ),
            HeldOut(every=2, score=score, metric="accuracy", data=data),
        )
        return trainer, ended, scored, said

    return fit


def test_patience_ends_a_run_however_often_it_is_stopped(fit, tmp_path):
    trainer, ended, scored, said = fit("whole")
    assert ended == (10, False)
    assert scored == [2, 4, 6, 8, 10]
    end = (
        "step 10/20  the end: no held-out accuracy in 3 scores is better than "
        "accuracy 0.7000, step 4's"
    )
    assert said == [end]
    found = history.scored(tmp_path / "whole")
    assert history.best(found).step == 4
    assert {
        path.name for path in (tmp_path / "whole/checkpoints").iterdir()
    } == {*("step-00000004", "step-00000010")}

    assert fit("cut", stop_at=7)[1:] == ((7, True), [2, 4, 6], [])
    with pytest.raises(_Killed):
        fit("cut", kill_at=10)

    def done(name, steps):
        return f"{tmp_path}/{name}: resumed from step 10 of {steps}."

    again, *rest = fit("cut")
    assert rest == [(10, False), [10], [done("cut", 20), end]]
    for ours, theirs in zip(
        tf.nest.flatten(again.state()),
        tf.nest.flatten(trainer.state()),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    one, other = (history.scored(tmp_path / x) for x in ("whole", "cut"))
    assert str(one) == str(other)  # a nan equals no other
    # All is said: nothing is trained or scored any more.
    assert fit("cut")[1:] == ((10, False), [], [done("cut", 20), end])
    # It goes on with more patience, or where other data are scored.
    _, ended, scored, said = fit("cut", patience=4, steps=12)
    assert (ended, scored, said) == ((12, False), [12], [done("cut", 12)])
    assert history.best(history.scored(tmp_path / "cut")).step == 12
    _, ended, scored, said = fit("whole", data="other", steps=14)
    assert (ended, scored) == ((14, False), [10, 12, 14])
    assert said == [done("whole", 14)]
    found = history.scored(tmp_path / "whole")
    assert history.best(found).step == 12
    assert history.since_best(found) == 1


def test_a_run_whose_metric_is_no_number_ends_too(fit):
    accuracies = dict.fromkeys(range(20), math.nan)
    assert fit("none", patience=2, accuracies=accuracies)[1:] == (
        (4, False),
        [2, 4],
        [
            "step 4/20  the end: no held-out accuracy in 2 scores is better "
            "than none at all"
        ],
    )
