# SPDX-License-Identifier: Apache-2.0
"""run() and the shared flags, seen from outside, in separate processes."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

import kbert.bin

COMMAND = '''
"""Greets a folder."""
import os
import pathlib
import sys

from absl import app, flags

import kbert.bin
from kbert.bin import flags as shared

_MODEL = shared.model()
_TIMES = flags.DEFINE_integer("times", 3, "How often.", lower_bound=1)
_RAISE = flags.DEFINE_string("raise", None, "Python text of an exception.")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    if _RAISE.value:
        raise eval(_RAISE.value)
    print("hello", _MODEL.value, _TIMES.value, __BODY__)


def cli():
    kbert.bin.run(main, __file__)


if __name__ == "__main__":
    cli()
'''

SCRIPT = """
from say_hello import cli
if __name__ == "__main__":
    cli()
"""


@pytest.fixture(params=["console script", "file"])
def start(request, tmp_path):
    """Runs the command with the flags given, as pip's scripts do or a file."""

    def start(*flags, body="''", wait=True, **environment):
        file = tmp_path / "say_hello.py"
        file.write_text(COMMAND.replace("__BODY__", body))
        if request.param == "console script":
            file = tmp_path / "kbert-say-hello"
            file.write_text(SCRIPT)
        how = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "env": _environment(tmp_path, **environment),
        }
        command = [sys.executable, file, *flags]
        if not wait:
            return subprocess.Popen(command, **how)
        done = subprocess.run(command, timeout=60, **how)
        return done.returncode, done.stdout, done.stderr

    return start


def _environment(folder, **more):
    ours = {"TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND", "PYTHONWARNINGS"}
    kept = {k: v for k, v in os.environ.items() if k not in ours}
    paths = (str(folder), os.getcwd(), kept.get("PYTHONPATH", ""))
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **more}


def test_flags_reach_main(start):
    got = start("--model=m", "--times=5")
    assert got == (0, "hello m 5 \n", "")


def test_help_lists_own_flags_and_defaults(start):
    code, out, err = start("--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: kbert-say-hello [--flag=value ...]\n")
    assert "Greets a folder." in out
    assert "--model: The trained model: a folder of kbert, Hugging Face," in out
    assert "--times: How often.\n    (default: '3')" in out
    assert "verbosity" not in out  # absl's own, which --helpfull adds


@pytest.mark.parametrize("flag", ["--helpshort", "--helpfull"])
def test_other_help_flags(start, flag):
    code, out, err = start(flag)
    assert (code, err) == (0, "")
    assert "--times" in out
    assert ("--verbosity" in out) == (flag == "--helpfull")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["--model=m", "--time=5"],
            "unknown flag --time; did you mean --times? --help lists all.",
        ),
        (["--model=m", "--zzz=5"], "unknown flag --zzz; see --help."),
        (["--model=m", "--times=x"], "flag --times=x: "),
        (["--model=m", "--times=0"], "flag --times=0: "),
        (["--model=m", f"--times={2**63}"], f"--times={2**63}: needs a fin"),
        ([], "needs --model=...; see --help."),
        (["--flagfile=gone.flags"], "gone.flags"),
        (["--flagfile=/dev/zero"], "/dev/zero: a character device; needs a r"),
        (["-flagfile", "/dev/zero"], "/dev/zero: a character device; needs"),
        (["--model=m", "oops"], "Not a flag: ['oops']"),
        (["--model=m", "--raise=ValueError('a.txt:3: bad')"], "a.txt:3: bad"),
        (["--model=m", "--raise=ValueError('one\\n  two')"], "one two"),
        (["--model=m", "--raise=ValueError()"], "ValueError"),
        (["--model=m", "--raise=OSError(2, 'No file', 'f')"], "No file: 'f'"),
    ],
)
def test_bad_input_is_one_line(start, flags, line):
    code, out, err = start(*flags)
    assert (code, out) == (1, "")
    assert err.startswith("kbert-say-hello: error: ")
    assert line in err
    assert err.count("\n") == 1 and err.endswith("\n")


def test_a_pipe_that_a_file_of_flags_names_is_refused(start, tmp_path):
    """Also behind a --, which ends no file, and in files that go in circles."""
    os.mkfifo(tmp_path / "pipe")
    for name, lines in {
        "first": "# these\n--flagfile={0}/first\n--flagfile={0}/second\n",
        "second": "--times=5\n--\n-flagfile={0}/pipe\n",
    }.items():
        (tmp_path / name).write_text(lines.format(tmp_path))
    code, out, err = start("--model=m", "--flagfile", str(tmp_path / "first"))
    assert (code, out) == (1, "")
    assert f"error: {tmp_path}/pipe: a FIFO (a pipe); needs a regular" in err
    (tmp_path / "second").write_text("--times=5\n")
    code, out, _ = start("--model=m", "--flagfile", str(tmp_path / "first"))
    assert (code, out) == (0, "hello m 5 \n")


def test_a_bug_keeps_its_traceback(start):
    code, _, err = start("--model=m", "--raise=KeyError('lost')")
    assert code == 1
    assert "Traceback" in err and "KeyError: 'lost'" in err


def test_interrupt_is_130_and_one_line(start):
    body = "print('ready', flush=True) or __import__('time').sleep(30)"
    process = start("--model=m", body=body, wait=False)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.strip() == "kbert-say-hello: interrupted"


SETTINGS = "os.environ['TF_CPP_MIN_LOG_LEVEL'], os.environ['KERAS_BACKEND']"


def test_libraries_are_quiet_unless_the_user_says_otherwise(start):
    _, out, _ = start("--model=m", body=SETTINGS, KERAS_BACKEND="jax")
    assert out == "hello m 3 3 tensorflow\n"
    _, out, _ = start("--model=m", body=SETTINGS, TF_CPP_MIN_LOG_LEVEL="0")
    assert out == "hello m 3 0 tensorflow\n"


NOISE = """
[
    __import__("warnings").warn("noise 1"),
    __import__("logging").getLogger("tensorflow").warning("noise 2"),
    __import__("logging").getLogger("library").info("noise 3"),
]
"""


def test_nothing_around_the_answer(start):
    code, _, err = start("--model=m", body=NOISE)
    assert (code, err) == (0, "")
    code, _, err = start("--model=m", body=NOISE, PYTHONWARNINGS="default")
    assert code == 0 and "noise 1" in err


NOISY_TENSORFLOW = """
import os
os.write(2, b"could not find cuda drivers\\n")
if os.environ.get("BROKEN"):
    raise ImportError("no AVX here")


class config:
    looked = False

    @classmethod
    def list_physical_devices(cls):
        if not cls.looked:
            os.write(2, b"failed call to cuInit\\n")
        cls.looked = True
"""
IMPORT = "__import__('tensorflow').config.list_physical_devices()"
IN_A_WORKER = f"""
__import__("multiprocessing").get_context("spawn").Pool(1).apply(
    eval, ["{IMPORT}"]
)
"""


@pytest.mark.parametrize("body", [IMPORT, IN_A_WORKER])
def test_the_import_of_tensorflow_is_silent(start, tmp_path, body):
    (tmp_path / "tensorflow.py").write_text(NOISY_TENSORFLOW)
    code, _, err = start("--model=m", body=body)
    assert (code, err) == (0, "")
    _, _, err = start("--model=m", body=body, TF_CPP_MIN_LOG_LEVEL="1")
    assert "could not find cuda drivers\nfailed call to cuInit\n" in err
    code, _, err = start("--model=m", body=body, BROKEN="1")
    assert code == 1 and "ImportError: no AVX here" in err


BIN = pathlib.Path(kbert.bin.__file__).parent
COMMANDS = [
    file.stem
    for file in sorted(BIN.glob("*.py"))
    if "\ndef cli(" in file.read_text("utf-8")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_takes_without_tensorflow(command):
    """Nor Keras: importing them takes seconds."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime"]
        + ["-m", f"kbert.bin.{command}", "--help"],
        capture_output=True,
        text=True,
    )
    lines = done.stderr.splitlines()
    assert {line.partition(":")[0] for line in lines} == {"import time"}
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "absl.flags" in imported
    assert not {"tensorflow", "keras"} & imported
    assert done.returncode == 0
    name = command.replace("_", "-")
    assert done.stdout.startswith(f"usage: kbert-{name} [--flag=value ...]\n")
    assert "\n  --" in done.stdout
