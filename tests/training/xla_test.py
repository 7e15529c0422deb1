# SPDX-License-Identifier: Apache-2.0
"""The step that XLA compiles is the step."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert.models import build_pretrainer
from kbert.training import loop, losses
from kbert.training.fused_adamw import FusedAdamW


@pytest.mark.slow
def test_xla_takes_the_same_steps(tiny_config, batch):
    config = dataclasses.replace(
        tiny_config,
        num_hidden_layers=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    labels = {"mlm_logits": np.array([[6, 9], [7, 12], [12, 0]], "int32")}
    batches = tf.data.Dataset.from_tensors((batch, labels)).repeat()
    results = []
    for xla in (False, True):
        keras.utils.set_random_seed(4)
        trainer = loop.Trainer(
            build_pretrainer(config, ["mlm_logits"]),
            losses={"mlm_logits": losses.CrossEntropy()},
            metrics={"mlm_logits": [losses.LabelIsBest()]},
            optimizer=FusedAdamW(1e-3),
            xla=xla,
        )
        for one in batches.take(3):
            trainer.train_step(one)
        weights = trainer.model.get_weights()
        results.append((trainer.means.take(), weights))
        graph = trainer.train_step.get_concrete_function(one).graph
        assert ("_XlaMustCompile" in str(graph.as_graph_def())) == xla
    scores, weights = zip(*results, strict=True)
    assert set(scores[0]) == set(scores[1])
    for name, value in scores[0].items():
        np.testing.assert_allclose(scores[1][name], value, rtol=1e-5)
    for variable, one, two in zip(trainer.model.weights, *weights, strict=True):
        if "qkv_bias" not in variable.path:  # the keys' gradients are noise
            np.testing.assert_allclose(one, two, atol=1e-5)
