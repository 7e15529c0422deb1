# SPDX-License-Identifier: Apache-2.0
"""Validation scores in history.jsonl, and the best step by them."""

import json
import math

import pytest
import tensorflow as tf

from kbert.training import history
from kbert.training.history import History, ValidationPoint


def test_the_best_has_the_lowest_sum_of_losses():
    losses = [(5.0, 0.7), (4.0, 0.9), (4.0, 0.9), (4.2, 0.8)]
    points = [
        ValidationPoint(
            step, {"mlm_loss": mlm, "nsp_loss": nsp, "mlm_accuracy": -9.0}
        )
        for step, (mlm, nsp) in enumerate(losses, 1)
    ]
    assert history.best(points) == points[1]  # the first of its like
    assert history.best(points).number == 4.9


def test_a_loss_that_is_not_finite_is_never_the_best():
    bad = [
        ValidationPoint(1, {"loss": x}) for x in (math.nan, -math.inf, math.inf)
    ]
    assert history.best(bad) is None
    assert history.best([*bad, ValidationPoint(2, {"loss": 9.0})]).step == 2


def test_the_best_has_the_highest_metric_if_that_is_what_counts():
    """On the last one's data alone; nan and infinity never win."""
    numbers = [0.9, 0.3, math.nan, 0.6, 0.6, math.inf, 0.5]
    points = [
        ValidationPoint(
            step,
            {"loss": 1 / step, "f1": f1},
            "f1",
            "new" if step > 1 else "old",
        )
        for step, f1 in enumerate(numbers, 1)
    ]
    assert history.best(points) == points[3]  # the first of its like
    assert str(history.best(points)) == "f1 0.6000"
    assert history.since_best(points) == 3
    assert history.since_best(points[:3]) == 1
    assert history.since_best(points[2:3]) == 1
    assert history.since_best([]) == 0
    by_loss = ValidationPoint(8, {"loss": 9.0, "f1": 0.0}, "loss", "new")
    assert history.best([*points, by_loss]) == by_loss


def test_scores_of_lost_steps_are_forgotten(tmp_path):
    first = History(tmp_path, 0)
    for step, loss in ((2, 3.5), (4, math.nan), (6, 1 / 3)):
        first.log(step, {"loss": 0.1})
        first.log_validation(
            ValidationPoint(step, {"loss": loss, "accuracy": 0.5})
        )
    path = tmp_path / "history.jsonl"
    whole = path.read_text("utf-8")
    assert [json.loads(line)["step"] for line in whole.splitlines()] == [
        *(2, 2, 4, 4, 6, 6)
    ]
    path.write_text(whole + '{"step": 6, "held_out_l', "utf-8")
    again = History(tmp_path, 6)
    assert path.read_text("utf-8") == whole
    assert history.best(again.points) == ValidationPoint(
        6, {"loss": 1 / 3, "accuracy": 0.5}
    )
    again = History(tmp_path, 5)
    assert [found.step for found in again.points] == [2, 4]
    assert history.best(again.points).step == 2


def test_tensorboard_has_groups(tmp_path):
    written = History(tmp_path, 0)
    written.log(2, {"loss": 0.5, "learning_rate": 0.1, "model_tflops": 3.0})
    written.log_validation(ValidationPoint(2, {"f1": 0.25}, "f1"))
    [file] = (tmp_path / "tensorboard").iterdir()
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(file)):
        for value in event.summary.value:
            number = tf.make_ndarray(value.tensor).item()
            found[value.tag] = event.step, pytest.approx(number)
    assert found == {
        "train/loss": (2, 0.5),
        "train/learning_rate": (2, 0.1),
        "speed/model_tflops": (2, 3.0),
        "validation/f1": (2, 0.25),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", ":1: 3; needs an object"),
        ("[1]", r":1: \[1\]; needs an object"),
        ("{}", r":1: fields \['step'\] are missing"),
        ('{"step": "1"}', ':1: step is "1"; needs a whole number'),
        ('{"step": -1}', ":1: step is -1; needs 0 <= x"),
        ('{"step": 1, "held_out_loss": "0.5"}', ":1: held_out_loss is "),
        ('{"step": 1, "held_out_loss": [1]}', ":1: held_out_loss is "),
        ('{"step": 1, "metric": 1}', ":1: metric is 1; needs a string"),
        ('{"step": 1, "metric": "f1"}', ": step 1: metric is 'f1', but"),
        ('{"step": 1, "loss": 1}\n{', ":2: not JSON"),
        ("[" * 100_000, ":1: JSON that is nested more than 100 levels"),
        ('{"step":' * 100_000, ":1: JSON that is nested more than 100 level"),
    ],
)
def test_a_damaged_line_is_named(text, message, tmp_path):
    (tmp_path / "history.jsonl").write_text(f"{text}\n")
    for read in (history.validation_points, lambda path: History(path, 1)):
        with pytest.raises(ValueError, match=f"history.jsonl{message}"):
            read(tmp_path)


def test_a_history_of_no_lines_yet(tmp_path):
    (tmp_path / "history.jsonl").touch()
    assert history.validation_points(tmp_path) == []
    History(tmp_path, 0)
