# SPDX-License-Identifier: Apache-2.0
"""TF_CONFIG that is wrong, or names workers that do not come."""

import json
import socket

import pytest
import tensorflow as tf

from kbert.runs import devices
from tests.runs import cluster


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "TF_CONFIG is not set; needs JSON such as"),
        ("{cluster", "TF_CONFIG is not JSON"),
        ("[]", "TF_CONFIG=.*; needs JSON such as"),
        ('{"cluster": {"worker": ["a:1"]}}', "'task' is missing"),
        ('{"task": {"type": "worker", "index": 0}}', "'cluster' is missing"),
        (
            '{"cluster": {"worker": ["a:1"]}, '
            '"task": {"type": "worker", "index": 1}}',
            "('worker', 1) is missing",
        ),
        (
            '{"cluster": {"worker": ["a"]}, '
            '"task": {"type": "worker", "index": 0}}',
            "'a' is no host:port",
        ),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, '
            '"task": {"type": "worker", "index": 0}}',
            "cluster has ['ps']; needs ['chief', 'worker'] alone",
        ),
    ],
)
def test_a_wrong_tf_config_is_named(monkeypatch, text, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError) as info:
        devices.strategy("multi_worker", 1.0)
    expected = message.split(".*")
    assert all(part in str(info.value) for part in expected), info.value


def test_a_worker_that_does_not_come_is_named(monkeypatch):
    own, here, dead = cluster.free_ports(3)
    addresses = [f"127.0.0.1:{port}" for port in (own, here, dead)]
    config = {
        "cluster": {"worker": addresses},
        "task": {"type": "worker", "index": 0},
    }
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    line = f"^TF_CONFIG: {addresses[2]} did not come within .*=0.5 seconds.$"
    with socket.create_server(("127.0.0.1", here)):
        with pytest.raises(ValueError, match=line):
            devices.strategy("multi_worker", 0.5)
    with socket.create_server(("127.0.0.1", own)):
        with pytest.raises(OSError, match=f"{addresses[0]} cannot be used"):
            devices.strategy("multi_worker", 0.5)


def test_one_device_or_all(monkeypatch):
    plain = tf.distribute.get_strategy()
    assert devices.strategy("one_device", 0) is plain
    assert devices.strategy("auto", 0) is plain  # no GPU here
    assert devices.strategy("mirrored", 0).num_replicas_in_sync == 2
