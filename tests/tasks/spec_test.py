# SPDX-License-Identifier: Apache-2.0
"""What all tasks share: a model that the machine cannot hold is not built."""

import dataclasses
import os

import pytest

from kbert import tasks
from kbert.config import BertConfig
from kbert.tasks import TaskSpec, parts
from kbert.tasks.heads import Head


@pytest.mark.parametrize("task", ["encoder", "pretraining", "regression"])
def test_a_model_above_the_memory_is_refused(task, monkeypatch):
    """Each of its numbers is allowed."""
    config = BertConfig(
        vocab_size=2**24,
        lower_case=True,
        hidden_size=2**16,
        num_hidden_layers=256,
        num_attention_heads=2**10,
        intermediate_size=2**20,
    )
    spec = TaskSpec(task=task, max_seq_length=16)
    monkeypatch.setattr(parts, "head", None)  # which would allocate it
    message = "The encoder of the config has .* weights, .* GiB; this machine"
    with pytest.raises(ValueError, match=message):
        tasks.build(config, spec)


def test_the_memory_is_the_limit(tiny_config, monkeypatch):
    spec = TaskSpec(task="encoder", max_seq_length=16)
    head = Head(build=lambda config, spec: "built")
    monkeypatch.setattr(parts, "head", lambda task: head)
    config = dataclasses.replace(tiny_config, num_hidden_layers=1)
    needed = 4 * config.num_encoder_weights
    sizes = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": needed}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert tasks.build(config, spec) == "built"
    sizes["SC_PHYS_PAGES"] = needed - 1
    with pytest.raises(ValueError, match=f"has {needed // 4:,} weights"):
        tasks.build(config, spec)
