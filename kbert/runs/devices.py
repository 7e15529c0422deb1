# SPDX-License-Identifier: Apache-2.0
"""The devices of a run: one, all of a machine, or several machines."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Collection

import tensorflow as tf

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")

_WANTED = (
    'needs JSON such as {"cluster": {"worker": ["host1:2222", '
    '"host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)
_JOBS = ("chief", "worker")
_KNOCK_SECONDS = 0.2


def has_gpu() -> bool:
    """Whether TensorFlow computes on a GPU where it can."""
    return bool(tf.config.list_logical_devices("GPU"))


def strategy(kind: str, start_timeout: float) -> tf.distribute.Strategy:
    """The strategy of a run; call it before anything of TensorFlow's.

    Args:
        kind: one of STRATEGIES. "mirrored" takes all GPUs, or all logical
            processors where there is no GPU; "auto" is that if there are
            several GPUs, else one device. "multi_worker" takes the machines
            that TF_CONFIG names, and waits for them.
        start_timeout: seconds to wait.
    Raises: ValueError, naming TF_CONFIG and what is wrong with it or which
        workers did not come.
    """
    if kind == "multi_worker":
        return _multi_worker(start_timeout)
    several = len(tf.config.list_physical_devices("GPU")) > 1
    if kind == "one_device" or (kind == "auto" and not several):
        return tf.distribute.get_strategy()
    if gpus := tf.config.list_logical_devices("GPU"):
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    return tf.distribute.MirroredStrategy(
        [cpu.name for cpu in tf.config.list_logical_devices("CPU")],
        # Collective operations are for GPUs and machines, and remember the
        # shapes of the process's earlier strategies.
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def _multi_worker(start_timeout):
    text = os.environ.get("TF_CONFIG")
    if text is None:
        raise ValueError(
            f"--strategy=multi_worker: TF_CONFIG is not set; {_WANTED}."
        )
    own, others = _addresses(text)
    until = time.monotonic() + start_timeout
    _meet(own, others, until, start_timeout)
    return _connect(until, start_timeout)


def _addresses(text: str) -> tuple[str, list[str]]:
    """This worker's and the other ones'."""
    try:
        fields = json.loads(text)
        jobs = fields["cluster"]
        task = fields["task"]["type"], fields["task"]["index"]
        workers = {
            (job, index): address
            for job, addresses in jobs.items()
            for index, address in enumerate(addresses)
        }
        own = workers.pop(task)
        for address in (own, *workers.values()):
            _host_and_port(address)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"TF_CONFIG is not JSON ({error}); {_WANTED}."
        ) from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"TF_CONFIG={text}: {_wrong(error)}; {_WANTED}."
        ) from None
    if unknown := sorted(set(jobs) - set(_JOBS)):
        raise ValueError(
            f"TF_CONFIG: cluster has {unknown}; needs {list(_JOBS)} alone."
        )
    return own, list(workers.values())


def _wrong(error):
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address!r} is no host:port")
    return host.strip("[]"), int(port)


def _meet(
    own: str, others: Collection[str], until: float, start_timeout: float
) -> None:
    """Waits for the other workers, where Python hears signals.

    TensorFlow waits for more than ten minutes and hears none. Each worker
    answers at its own address until it has reached all others, and gives the
    address up to TensorFlow then.
    """
    port = _host_and_port(own)[1]
    missing = list(others)
    try:
        server = socket.create_server(("", port), backlog=128)
    except OSError as error:
        raise OSError(
            f"TF_CONFIG: this worker's address {own} cannot be used: "
            f"{error.strerror}."
        ) from None
    with server:
        while missing := [x for x in missing if not _answers(x)]:
            if time.monotonic() > until:
                raise ValueError(
                    f"TF_CONFIG: {', '.join(missing)} did not come within "
                    f"--start_timeout={start_timeout:g} seconds."
                )
            time.sleep(_KNOCK_SECONDS)


def _answers(address):
    try:
        socket.create_connection(_host_and_port(address), timeout=1).close()
    except OSError:
        return False
    return True


def _connect(until: float, start_timeout: float) -> tf.distribute.Strategy:
    """The strategy, made where it cannot keep this thread from signals."""
    made = []

    def make():
        try:
            made.append(tf.distribute.MultiWorkerMirroredStrategy())
        except Exception as error:  # raised below, in the other thread
            made.append(error)

    heard = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    while thread.is_alive() and time.monotonic() < until:
        signal.signal(signal.SIGTERM, heard)  # TensorFlow takes it away
        thread.join(_KNOCK_SECONDS)
    signal.signal(signal.SIGTERM, heard)
    if not made:
        raise ValueError(
            "The workers of TF_CONFIG answered but did not all start within "
            f"--start_timeout={start_timeout:g} seconds."
        )
    if isinstance(made[0], Exception):
        text = (str(made[0]) or type(made[0]).__name__).splitlines()[0]
        raise ValueError(f"The workers of TF_CONFIG did not start: {text}")
    return made[0]
