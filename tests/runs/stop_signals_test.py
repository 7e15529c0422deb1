# SPDX-License-Identifier: Apache-2.0
"""Signals that ask a command to stop, each in a separate process."""

import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import sys, time
from kbert.runs import stop_signals

stop_signals.exit_to_be_resumed()
if sys.argv[1] == "start":
    print("ready", flush=True)
    time.sleep(30)
with stop_signals.remembered() as heard:
    print("ready", flush=True)
    while not heard():
        time.sleep(0.01)
    print("saved", heard.name, flush=True)
    if sys.argv[1] == "stuck":
        time.sleep(30)
print("left", flush=True)
time.sleep(30 if sys.argv[1] == "after" else 0)
"""
NAMES = {
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "SIGHUP",
    signal.SIGINT: "Ctrl-C",
}


def _heed():
    """A test in the background of a shell inherits that it does not."""
    for number in NAMES:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def start():
    started = []

    def start(mode, preexec_fn=_heed):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, mode],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=preexec_fn,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", NAMES)
def test_a_run_is_left_to_save(start, number):
    process = start("run")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, f"saved {NAMES[number]}\nleft\n")
    hint = "\nCtrl-C: saves after this step; once more ends at once.\n"
    assert err == (hint if number == signal.SIGINT else "")


def test_a_second_interrupt_ends_at_once(start):
    """Not the echo of the first, which wrappers pass on."""
    process = start("stuck")
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "saved Ctrl-C\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.4)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.endswith("\nCtrl-C: ended; nothing more is saved.\n")


@pytest.mark.parametrize("mode", ["start", "after"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_before_and_after_a_run_it_ends_at_once(start, mode, number):
    process = start(mode)
    if mode == "after":
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "saved SIGTERM\n"
        assert process.stdout.readline() == "left\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 75
    assert err == f"\n{NAMES[number]}: ended; start it again to resume.\n"


@pytest.mark.parametrize("mode", ["start", "stuck"])
def test_what_nohup_ignores_stays_ignored(start, mode):
    def ignore():
        _heed()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    process = start(mode, ignore)
    process.send_signal(signal.SIGHUP)
    if mode == "stuck":  # of Python's own Ctrl-C elsewhere
        process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    line = "saved SIGTERM\n" if mode == "stuck" else ""
    assert process.stdout.readline() == line


# A command, held where it would parse its flags.
HELD = """
import importlib, sys, time
from absl import app

def hold(*_, **__):
    print("ready", flush=True)
    time.sleep(30)

app.run = hold
importlib.import_module(f"kbert.bin.{sys.argv[1]}").cli()
"""


@pytest.mark.parametrize(
    "command", ["finetune", "pretrain", "tune", "predict", "make_records"]
)
def test_a_command_that_starts_hears_sigterm(command):
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 75, err
