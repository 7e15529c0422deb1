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
from kbert.training.callbacks import Callback
from kbert.training.config import TrainConfig
from kbert.training.fused_adamw import FusedAdamW

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


class _Scorer:
    """Has an accuracy for each step, and may be killed at one."""

    metric = "accuracy"

    def __init__(self, trainer, accuracies, data, kill_at):
        self.data = data
        self.scored = []
        self._trainer, self._accuracies = trainer, accuracies
        self._kill_at = kill_at

    def __call__(self):
        step = int(self._trainer.step.numpy())
        if step == self._kill_at:
            raise _Killed
        self.scored.append(step)
        return {"loss": float(step), "accuracy": self._accuracies[step]}


class _Recorder(Callback):
    """Keeps the messages, and stops after a step."""

    def __init__(self, trainer, stop_at):
        self.messages = []
        self._trainer, self._stop_at = trainer, stop_at

    def on_message(self, line):
        self.messages.append(line)

    def should_stop(self):
        return self._trainer.step.numpy() == self._stop_at


@pytest.fixture
def fit(tmp_path):
    """Trains 20 steps at most; gives what was scored and the messages."""

    def fit(folder, *, stop_at=None, kill_at=None, data="", **settings):
        trainer = _trainer()
        accuracies = settings.pop("accuracies", ACCURACIES)
        scorer = _Scorer(trainer, accuracies, data, kill_at)
        recorder = _Recorder(trainer, stop_at)
        result = loop.fit(
            trainer,
            _batches,
            steps=settings.pop("steps", 20),
            config=TrainConfig(
                output_dir=str(tmp_path / folder),
                eval_every=2,
                keep_checkpoints=1,
                **{"patience": 3, **settings},
            ),
            scorer=scorer,
            callback=recorder,
        )
        end = (result.step, result.stopped)
        return trainer, end, scorer.scored, recorder.messages

    return fit


def test_patience_ends_a_run_however_often_it_is_stopped(fit, tmp_path):
    trainer, end, scored, messages = fit("whole")
    assert end == (10, False)
    assert scored == [2, 4, 6, 8, 10]
    message = (
        "step 10/20  early stopping: no validation accuracy in 3 scores is "
        "better than accuracy 0.7000 of step 4"
    )
    assert messages == [message]
    found = history.validation_points(tmp_path / "whole")
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
    assert rest == [(10, False), [10], [done("cut", 20), message]]
    for ours, theirs in zip(
        tf.nest.flatten(again.state()),
        tf.nest.flatten(trainer.state()),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    one, other = (
        history.validation_points(tmp_path / x) for x in ("whole", "cut")
    )
    assert str(one) == str(other)  # a nan equals no other
    # The run is over: nothing is trained or scored any more.
    assert fit("cut")[1:] == ((10, False), [], [done("cut", 20), message])
    # It is resumed with more patience, or where other data are scored.
    _, end, scored, messages = fit("cut", patience=4, steps=12)
    assert (end, scored, messages) == ((12, False), [12], [done("cut", 12)])
    assert history.best(history.validation_points(tmp_path / "cut")).step == 12
    _, end, scored, messages = fit("whole", data="other", steps=14)
    assert (end, scored) == ((14, False), [10, 12, 14])
    assert messages == [done("whole", 14)]
    found = history.validation_points(tmp_path / "whole")
    assert history.best(found).step == 12
    assert history.since_best(found) == 1


def test_a_run_whose_metric_is_no_number_ends_too(fit):
    accuracies = dict.fromkeys(range(20), math.nan)
    assert fit("none", patience=2, accuracies=accuracies)[1:] == (
        (4, False),
        [2, 4],
        [
            "step 4/20  early stopping: no validation accuracy in 2 scores is "
            "better than none at all"
        ],
    )
