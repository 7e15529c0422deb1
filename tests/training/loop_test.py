# SPDX-License-Identifier: Apache-2.0
"""The commands' loop: what it computes, what it keeps, how it goes on."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert import models
from kbert.training import history, loop, losses
from kbert.training.fused_adamw import FusedAdamW
from kbert.training.history import Scored
from kbert.training.optimizer import AdamW, WarmupDecay
from kbert.training.plan import HeldOut, Plan, Watcher


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


def _fit(
    trainer, batches, output_dir, steps, reported=None, held_out=None, **plan
):
    seen = [] if reported is None else reported
    return loop.fit(
        trainer,
        batches,
        Plan(
            steps=steps,
            output_dir=output_dir,
            log_every=plan.pop("log_every", 2),
            save_every=plan.pop("save_every", 2),
            keep_checkpoints=plan.pop("keep_checkpoints", 2),
        ),
        Watcher(
            report=lambda step, values: seen.append((step, values)), **plan
        ),
        held_out,
    )


def test_the_loss_is_the_mean_over_predictions(tiny_config, batch):
    trainer = _trainer(tiny_config)
    outputs = trainer.model(batch)
    labels, _ = _labels()
    values = trainer.scores.loss_values(outputs, labels)
    trainer.scores.update(values, outputs, labels, _labels()[1])
    values = trainer.scores.take()

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
        losses = trainer.scores.loss_values(outputs, labels)
        total = sum(
            tf.reduce_mean(losses[name] * weights[name]) for name in losses
        )
    variables = [v.value for v in trainer.model.trainable_variables]
    norm = tf.linalg.global_norm(tape.gradient(total, variables)).numpy()
    logs = []
    _fit(trainer, batches, tmp_path, 4, logs, log_every=1)
    assert norm > 1e-2
    assert logs[0][1]["gradient_norm"] == pytest.approx(norm, rel=1e-4)
    rates = [values["learning_rate"] for _, values in logs]
    assert rates == pytest.approx([5e-3, 1e-2, 1e-2, 5e-3])
    lines = (tmp_path / "history.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["learning_rate"] for line in lines] == rates


def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    tiny_config, batches, tmp_path
):
    whole = _trainer(tiny_config)
    reported = []
    _fit(whole, batches, tmp_path / "whole", 6, reported)
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
            curve.append(trainer.scores.take()["mlm_loss"])
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
    asked = iter([False, False, True])
    trainer = _trainer(tiny_config)
    done = _fit(trainer, batches, tmp_path, 6, should_stop=lambda: next(asked))
    assert done == (3, True)
    assert (tmp_path / "checkpoints" / "step-00000003").is_dir()


def test_a_line_of_the_history_that_was_cut_short(
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

        reported = []
        held_out = HeldOut(every=every, score=score) if every else None
        folder = tmp_path / str(every)
        _fit(trainer, batches, folder, 6, reported, held_out)
        state = tf.nest.flatten(trainer.state())
        ends.append(([variable.numpy() for variable in state], reported))
    (plain, plain_logs), (scored, scored_logs) = ends
    for one, other in zip(plain, scored, strict=True):
        np.testing.assert_array_equal(one, other)
    assert plain_logs == scored_logs
    assert traces == [1, 1, 1]
    assert len({values["mlm_loss"] for values in seen}) == 3
    assert history.scored(tmp_path / "2") == [
        Scored(step, values)
        for step, values in zip((2, 4, 6), seen, strict=True)
    ]


def test_the_time_of_scoring_is_none_of_the_steps(
    one_block, batches, tmp_path, monkeypatch
):
    """A clock that stands still but while something is scored."""
    now, measured, told = [100.0], [], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])

    def score():
        now[0] += 50.0
        return {"loss": 1.0}

    _fit(
        _trainer(one_block),
        batches,
        tmp_path,
        6,
        held_out=HeldOut(every=2, score=score),
        log_every=3,
        measure=lambda work, seconds: measured.append(seconds) or {},
        scored=lambda step, scores, seconds: told.append((step, seconds)),
    )
    assert measured == [0.0, 0.0]
    assert told == [(2, 50.0), (4, 50.0), (6, 50.0)]


class _Killed(Exception):
    pass


@pytest.mark.slow
def test_a_run_that_ends_while_it_is_scored_scores_that_step_next(
    one_block, batches, tmp_path
):
    """It is killed while step 4 is scored, and told to stop at step 6."""
    trained, scored = [], []

    def held_out(kill_at=None):
        def score():
            scored.append(trained[-1])
            if trained[-1] == kill_at:
                raise _Killed
            return {"loss": {2: 3.0, 4: 2.0}.get(trained[-1], 5.0)}

        return HeldOut(every=2, score=score)

    def fit(held_out, **more):
        more = {"tick": trained.append, "save_every": 5, **more}
        trainer = _trainer(one_block, steps=8)
        _fit(trainer, batches, tmp_path, 8, held_out=held_out, **more)
        return trainer

    with pytest.raises(_Killed):
        fit(held_out(kill_at=4))
    assert (trained, scored) == ([1, 2, 3, 4], [2, 4])
    fit(held_out(), should_stop=lambda: trained[-1] == 6)
    assert (trained, scored) == ([1, 2, 3, 4, 5, 6], [2, 4, 4])
    trainer = fit(held_out())
    assert (trained[-2:], scored) == ([7, 8], [2, 4, 4, 6, 8])
    # Step 4, the best, is kept beside the two newest.
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        *("step-00000004", "step-00000006", "step-00000008")
    }
    # So it is where the run goes on without scores.
    _fit(_trainer(one_block, steps=9), batches, tmp_path, 9)
    assert (tmp_path / "checkpoints/step-00000004").exists()
    plan = Plan(
        steps=8,
        output_dir=tmp_path,
        log_every=2,
        save_every=5,
        keep_checkpoints=2,
    )
    assert loop.restore(trainer, plan, 4, print)
    assert trainer.step.numpy() == 4
