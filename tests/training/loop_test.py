# SPDX-License-Identifier: Apache-2.0
"""The commands' loop: what it computes, what it keeps, how it resumes."""

import dataclasses
import json
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert import models
from kbert.training import history, loop, losses, throughput
from kbert.training.callbacks import Callback
from kbert.training.config import TrainConfig
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.history import ValidationPoint
from kbert.training.optimizer import AdamW, WarmupDecay
from kbert.training.throughput import Throughput


def _labels(scaled=True):
    weights = np.array([[1, 1], [1, 1], [1, 0]], "float32")
    scale = weights.size / weights.sum() if scaled else 1.0
    labels = {
        "mlm_logits": np.array([[6, 9], [7, 12], [12, 0]], "int32"),
        "nsp_logits": np.array([1, 0, 1], "int32"),
    }
    return labels, {
        "mlm_logits": weights * np.float32(scale),
        "nsp_logits": np.ones(3, "float32"),
    }


@pytest.fixture
def batches(batch):
    def batches_from(first_step):
        del first_step  # all steps have the same batch
        one = tf.data.Dataset.from_tensors((batch, *_labels()))
        return one.repeat()

    return batches_from


def _trainer(config, clip_norm=1.0, steps=6, optimizer=None):
    keras.utils.set_random_seed(4)
    return loop.Trainer(
        models.build_pretrainer(config),
        losses=losses.pretraining_losses(),
        metrics=losses.pretraining_metrics(),
        optimizer=optimizer or FusedAdamW(WarmupDecay(1e-2, 1, steps)),
        clip_norm=clip_norm,
    )


class _Recorder(Callback):
    """Keeps what it is called with, and stops after a step."""

    def __init__(self, stop_at=None):
        self.steps, self.logs, self.seconds = [], [], []
        self._stop_at = stop_at

    def on_step_end(self, step):
        self.steps.append(step)

    def on_log(self, step, values):
        self.logs.append((step, values))

    def on_validation(self, step, scores, seconds):
        self.seconds.append((step, seconds))

    def should_stop(self):
        return self.steps[-1] == self._stop_at


@dataclasses.dataclass
class _Scorer:
    """Scores with a function."""

    score: Callable[[], dict[str, float]]
    metric: str = "loss"
    data: str = ""

    def __call__(self):
        return self.score()


def _fit(trainer, batches, folder, steps, callback=None, **more):
    settings = {"log_every": 2, "save_every": 2, "eval_every": 2}
    settings |= {name: more.pop(name) for name in settings if name in more}
    return loop.fit(
        trainer,
        batches,
        steps=steps,
        config=TrainConfig(output_dir=str(folder), **settings),
        callback=callback or Callback(),
        **more,
    )


def test_the_loss_is_the_mean_over_predictions(tiny_config, batch):
    trainer = _trainer(tiny_config)
    outputs = trainer.model(batch)
    labels, _ = _labels()
    values = trainer.means.loss_values(outputs, labels)
    trainer.means.update(values, outputs, labels, _labels()[1])
    values = trainer.means.take()

    def cross_entropy(logits, label):
        return np.log(np.exp(logits).sum()) - logits[label]

    mlm = outputs["mlm_logits"].numpy().astype("float64")
    real = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    want = [cross_entropy(mlm[i], labels["mlm_logits"][i]) for i in real]
    assert values["mlm_loss"] == pytest.approx(np.mean(want), rel=1e-5)
    right = [mlm[i].argmax() == labels["mlm_logits"][i] for i in real]
    assert values["mlm_accuracy"] == pytest.approx(np.mean(right))
    nsp = outputs["nsp_logits"].numpy().astype("float64")
    want = [cross_entropy(nsp[i], labels["nsp_logits"][i]) for i in range(3)]
    assert values["nsp_loss"] == pytest.approx(np.mean(want), rel=1e-5)


def test_evaluation_does_not_depend_on_the_batches(tiny_config, batch):
    model = models.build_pretrainer(tiny_config)
    whole = tf.data.Dataset.from_tensor_slices((batch, *_labels()))
    results = []
    for size in (1, 2, 3):

        def scale(inputs, labels, weights):
            mlm = weights["mlm_logits"]
            size = tf.cast(tf.size(mlm), tf.float32)
            weights = {**weights, "mlm_logits": mlm * size / tf.reduce_sum(mlm)}
            return inputs, labels, weights

        results.append(
            loop.evaluate(
                model,
                whole.batch(size).map(scale),
                losses=losses.pretraining_losses(),
                metrics=losses.pretraining_metrics(),
            )
        )
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    assert results[0] == pytest.approx(results[2], rel=1e-5)


def test_model_fit_makes_the_same_steps(tiny_config, batches, tmp_path):
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = tiny_config.__class__(**{**vars(tiny_config), **still})
    trainer = _trainer(config)
    _fit(trainer, batches, tmp_path, steps=4)
    keras.utils.set_random_seed(4)
    model = models.build_pretrainer(config)
    model.compile(
        optimizer=AdamW(WarmupDecay(1e-2, 1, 6), global_clipnorm=1.0),
        loss=losses.pretraining_losses(),
        weighted_metrics=losses.pretraining_metrics(),
    )
    model.fit(batches(0), steps_per_epoch=4, verbose=0)
    for ours, theirs in zip(
        trainer.model.trainable_variables,
        model.trainable_variables,
        strict=True,
    ):
        np.testing.assert_allclose(
            ours.numpy(), theirs.numpy(), atol=2e-4, err_msg=ours.path
        )


def test_gradients_are_clipped(tiny_config, batches):
    moved = []
    for clip_norm in (1e-4, 1.0):
        trainer = _trainer(tiny_config, clip_norm)
        trainer.optimizer = keras.optimizers.SGD(1.0)
        trainer.optimizer.build(trainer.model.trainable_variables)
        before = trainer.model.get_weights()
        trainer.train_step(next(iter(batches(0))))
        after = trainer.model.get_weights()
        squares = [
            np.square(a.astype("float64") - b).sum()
            for a, b in zip(after, before, strict=True)
            if a.dtype == np.float32
        ]
        moved.append(np.sqrt(sum(squares)))
    assert moved[0] == pytest.approx(1e-4, rel=1e-2)
    assert moved[1] == pytest.approx(1.0, rel=1e-2)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_log_has_the_rate_and_the_gradients_length(
    one_block, batches, tmp_path, scaled
):
    """Of its step; the length is that before clipping, and not scaled."""
    config = dataclasses.replace(
        one_block, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    optimizer = FusedAdamW(WarmupDecay(1e-2, 2, 4))
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    trainer = _trainer(config, 1e-3, optimizer=optimizer)
    inputs, labels, weights = next(iter(batches(0)))
    with tf.GradientTape() as tape:
        outputs = trainer.model(inputs, training=True)
        losses = trainer.means.loss_values(outputs, labels)
        total = sum(
            tf.reduce_mean(losses[name] * weights[name]) for name in losses
        )
    variables = [v.value for v in trainer.model.trainable_variables]
    norm = tf.linalg.global_norm(tape.gradient(total, variables)).numpy()
    recorder = _Recorder()
    _fit(trainer, batches, tmp_path, 4, recorder, log_every=1)
    assert norm > 1e-2
    logs = recorder.logs
    assert logs[0][1]["gradient_norm"] == pytest.approx(norm, rel=1e-4)
    rates = [values["learning_rate"] for _, values in logs]
    assert rates == pytest.approx([5e-3, 1e-2, 1e-2, 5e-3])
    lines = (tmp_path / "history.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["learning_rate"] for line in lines] == rates


def test_a_stopped_run_resumes_as_if_it_had_not_been(
    tiny_config, batches, tmp_path
):
    whole = _trainer(tiny_config)
    recorder = _Recorder()
    _fit(whole, batches, tmp_path / "whole", 6, recorder)
    reported = recorder.logs
    assert [step for step, _ in reported] == [2, 4, 6]
    assert reported[0][1]["mlm_loss"] > reported[2][1]["mlm_loss"]
    _fit(_trainer(tiny_config), batches, tmp_path / "cut", 4)
    second = _trainer(tiny_config)
    _fit(second, batches, tmp_path / "cut", 6)
    for got, want in zip(
        second.model.get_weights(), whole.model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(got, want)
    history = [
        (tmp_path / run / "history.jsonl").read_text("utf-8").splitlines()
        for run in ("whole", "cut")
    ]
    assert history[0] == history[1]
    assert [json.loads(line)["step"] for line in history[0]] == [2, 4, 6]
    assert list((tmp_path / "whole" / "tensorboard").iterdir())


@pytest.mark.parametrize(
    "policy",
    [
        "mixed_bfloat16",
        pytest.param("mixed_float16", marks=pytest.mark.slow),
    ],
)
def test_reduced_precision_trains_alike(tiny_config, batches, policy):
    curves = []
    for name in ("float32", policy):
        keras.config.set_dtype_policy(name)
        try:
            keras.utils.set_random_seed(4)
            model = models.build_pretrainer(tiny_config)
        finally:
            keras.config.set_dtype_policy("float32")
        optimizer = FusedAdamW(1e-2)
        if name == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        trainer = loop.Trainer(
            model,
            losses=losses.pretraining_losses(),
            metrics=losses.pretraining_metrics(),
            optimizer=optimizer,
        )
        curve = []
        for batch in batches(0).take(10):
            trainer.train_step(batch)
            curve.append(trainer.means.take()["mlm_loss"])
        curves.append(curve)
    assert curves[0][-1] < 0.8 * curves[0][0]
    assert curves[0] != curves[1]  # the products are indeed rounded
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.02)


def test_another_models_checkpoint_is_named(tiny_config, batches, tmp_path):
    _fit(_trainer(tiny_config), batches, tmp_path, 2)
    wider = tiny_config.__class__(
        **{**vars(tiny_config), "intermediate_size": 40}
    )
    with pytest.raises(ValueError, match="step-00000002: not a checkpoint of"):
        _fit(_trainer(wider), batches, tmp_path, 4)


def test_a_loss_that_is_not_finite_stops_the_run(tiny_config, batch, tmp_path):
    """Step 3 divides by no prediction; its batch is kept, the rest is good."""

    def batches_from(first_step):
        labels, weights = _labels()
        scales = np.array([1, 1, np.inf, 1, 1, 1], "float32")[first_step:]
        weights = {
            "mlm_logits": weights["mlm_logits"] * scales[:, None, None],
            "nsp_logits": np.stack([weights["nsp_logits"]] * len(scales)),
        }
        return tf.data.Dataset.zip(
            tf.data.Dataset.from_tensors((batch, labels)).repeat(),
            tf.data.Dataset.from_tensor_slices(weights),
        ).map(lambda pair, weights: (*pair, weights))

    path = tmp_path / "lost_batch.npz"
    with pytest.raises(ValueError, match="not finite at step 3, whose") as info:
        _fit(_trainer(tiny_config), batches_from, tmp_path, 6)
    assert str(path) in str(info.value)
    lost = np.load(path)
    np.testing.assert_array_equal(lost["inputs.token_ids"], batch["token_ids"])
    assert np.isinf(lost["weights.mlm_logits"]).any()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == [
        "step-00000002"
    ]


def test_the_step_at_which_to_stop_is_saved(tiny_config, batches, tmp_path):
    trainer = _trainer(tiny_config)
    result = _fit(trainer, batches, tmp_path, 6, _Recorder(stop_at=3))
    assert (result.step, result.stopped) == (3, True)
    assert (tmp_path / "checkpoints" / "step-00000003").is_dir()


def test_a_line_of_the_history_that_is_truncated(
    tiny_config, batches, tmp_path
):
    _fit(_trainer(tiny_config), batches, tmp_path, 2)
    path = tmp_path / "history.jsonl"
    whole = path.read_text("utf-8")
    path.write_text(whole + '{"step": 4, "mlm_l', "utf-8")
    _fit(_trainer(tiny_config), batches, tmp_path, 4)
    lines = path.read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]
    assert lines[0] + "\n" == whole


@pytest.fixture
def one_block(tiny_config):
    return dataclasses.replace(tiny_config, num_hidden_layers=1)


def test_scoring_sees_the_averages_and_changes_nothing(
    one_block, batches, tmp_path
):
    ends, seen, traces = [], [], []
    for every in (None, 2):
        inner = FusedAdamW(1e-2, use_ema=True, ema_momentum=0.5)
        optimizer = keras.optimizers.LossScaleOptimizer(inner)
        trainer = _trainer(one_block, optimizer=optimizer)
        evaluation = loop.Evaluation(
            trainer.model,
            losses=losses.pretraining_losses(),
            metrics=losses.pretraining_metrics(),
        )

        def score(evaluation=evaluation, trainer=trainer, inner=inner):
            weights = trainer.model.trainable_variables
            averages = inner._model_variables_moving_average
            for weight, average in zip(weights, averages, strict=True):
                np.testing.assert_array_equal(weight, average)
            seen.append(evaluation(batches(0).take(2)))
            traces.append(evaluation._step.experimental_get_tracing_count())
            return seen[-1]

        recorder = _Recorder()
        scorer = _Scorer(score) if every else None
        folder = tmp_path / str(every)
        _fit(trainer, batches, folder, 6, recorder, scorer=scorer)
        state = tf.nest.flatten(trainer.state())
        ends.append(([variable.numpy() for variable in state], recorder.logs))
    (plain, plain_logs), (scored, scored_logs) = ends
    for one, other in zip(plain, scored, strict=True):
        np.testing.assert_array_equal(one, other)
    assert plain_logs == scored_logs
    assert traces == [1, 1, 1]
    assert len({values["mlm_loss"] for values in seen}) == 3
    assert history.validation_points(tmp_path / "2") == [
        ValidationPoint(step, values)
        for step, values in zip((2, 4, 6), seen, strict=True)
    ]


def test_the_time_of_scoring_is_none_of_the_steps(
    one_block, batches, tmp_path, monkeypatch
):
    """A clock that stands still but while something is scored."""
    now, measured, recorder = [100.0], [], _Recorder()
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])

    def measures(work, seconds, **_):
        measured.append(seconds)
        return {}

    monkeypatch.setattr(throughput, "measures", measures)
    trainer = _trainer(one_block)

    def score():
        now[0] += 50.0
        return {"loss": 1.0}

    _fit(
        trainer,
        batches,
        tmp_path,
        6,
        recorder,
        scorer=_Scorer(score),
        log_every=3,
        throughput=Throughput(trainer.take_work, one_block, None),
    )
    assert measured == [0.0, 0.0]
    assert recorder.seconds == [(2, 50.0), (4, 50.0), (6, 50.0)]


class _Killed(Exception):
    pass


@pytest.mark.slow
def test_a_run_that_ends_while_it_is_scored_scores_that_step_next(
    one_block, batches, tmp_path
):
    """It is killed while step 4 is scored, and stopped at step 6."""
    scored, trainers = [], []

    def scorer(kill_at=None):
        def score():
            step = trainers[-1].step.numpy()
            scored.append(step)
            if step == kill_at:
                raise _Killed
            return {"loss": {2: 3.0, 4: 2.0}.get(step, 5.0)}

        return _Scorer(score)

    def fit(scorer, recorder):
        trainers.append(_trainer(one_block, steps=8))
        more = {"scorer": scorer, "save_every": 5}
        return _fit(trainers[-1], batches, tmp_path, 8, recorder, **more)

    first, second, third = _Recorder(), _Recorder(stop_at=6), _Recorder()
    with pytest.raises(_Killed):
        fit(scorer(kill_at=4), first)
    assert (first.steps, scored) == ([1, 2, 3, 4], [2, 4])
    fit(scorer(), second)
    assert (second.steps, scored) == ([5, 6], [2, 4, 4])
    result = fit(scorer(), third)
    assert (third.steps, scored) == ([7, 8], [2, 4, 4, 6, 8])
    # Step 4, the best, is kept in addition to the two newest.
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        *("step-00000004", "step-00000006", "step-00000008")
    }
    # So it is where the run is resumed without scores.
    _fit(_trainer(one_block, steps=9), batches, tmp_path, 9)
    assert (tmp_path / "checkpoints/step-00000004").exists()
    assert result.checkpoints.restore_step(4)
    assert trainers[-1].step.numpy() == 4
