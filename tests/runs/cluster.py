# SPDX-License-Identifier: Apache-2.0
"""Processes of a cluster on this machine, one command each."""

import json
import os
import socket
import subprocess
import sys


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses now."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def start(
    command: str, flags: list[str], index: int, ports: list[int]
) -> subprocess.Popen:
    """A worker of `--strategy=multi_worker`; its stderr is kept, as text."""
    config = {
        "cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
        "task": {"type": "worker", "index": index},
    }
    return subprocess.Popen(
        [sys.executable, "-m", f"kbert.bin.{command}", *flags],
        env={
            **os.environ,
            "TF_CONFIG": json.dumps(config),
            "CUDA_VISIBLE_DEVICES": "",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
