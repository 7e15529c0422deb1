# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import socket
import stat
import subprocess
import sys
import threading

import pytest

from kbert import atomic_files

# Forks a child for each step of one write, which kills itself at that step,
# and prints what is left: Python calls an audit hook before it opens, makes,
# renames or removes anything.
_KILL_AT_EACH_STEP = """
import os, pathlib, shutil, signal, sys
from kbert import atomic_files

folder = pathlib.Path(sys.argv[1])
what, can_exchange = sys.argv[2], sys.argv[3] == "exchange"
if not can_exchange:
    atomic_files._exchange = lambda one, other: False
EVENTS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "open",
          "shutil.rmtree", "os.scandir", "fcntl.flock")
path = folder / "model"

def write(text):
    if what == "file":
        atomic_files.write_text(path, text)
        return
    with atomic_files.writing_folder(path, "replace") as new:
        (new / "one").write_text(text)
        (new / "two").write_text(text)

def read():
    if what == "file":
        return path.read_text()
    if can_exchange and sys.platform == "linux":
        assert path.exists()  # a server that looks just then finds one
    atomic_files.recover(path)
    assert sorted(os.listdir(path)) == ["one", "two"], os.listdir(path)
    one, two = ((path / name).read_text() for name in ("one", "two"))
    assert one == two
    return one

def kill_at(step):
    left = step
    def hook(event, args):
        nonlocal left
        if event in EVENTS:
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
    sys.addaudithook(hook)

write("old")
seen, step, killed = [], 0, True
while killed:
    child = os.fork()
    if not child:
        kill_at(step)
        write("new")
        os._exit(0)
    killed = os.waitpid(child, 0)[1] != 0
    seen.append(read())
    write("old")
    assert os.listdir(folder) == ["model"], (step, os.listdir(folder))
    step += 1
print(step, *seen)
"""


@pytest.mark.parametrize(
    ("what", "how"),
    [("file", "exchange"), ("folder", "exchange"), ("folder", "two renames")],
)
def test_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path, what, how):
    done = subprocess.run(
        [sys.executable, "-c", _KILL_AT_EACH_STEP, str(tmp_path), what, how],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    steps, *seen = done.stdout.split()
    assert int(steps) > 10
    changed = seen.index("new")
    assert changed > 5
    assert seen == ["old"] * changed + ["new"] * (len(seen) - changed)


def test_a_living_process_keeps_what_it_writes(tmp_path):
    path = tmp_path / "model"
    with atomic_files.writing_folder(path) as new:
        (new / "weights").write_text("1")
        with atomic_files.writing_folder(tmp_path / "other"):
            pass
        atomic_files.write_text(tmp_path / "file", "")
    assert (path / "weights").read_text() == "1"
    assert sorted(os.listdir(tmp_path)) == ["file", "model", "other"]


def test_an_error_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "weights").write_text("old")
    with pytest.raises(KeyError):
        with atomic_files.writing_folder(path, "replace") as new:
            (new / "weights").write_text("new")
            raise KeyError
    with pytest.raises(KeyError):
        with atomic_files.writing_file(path / "weights") as new:
            new.write_text("new")
            raise KeyError
    assert (path / "weights").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(path) == ["weights"]


def test_a_replacement_that_fails_midway_puts_the_old_one_back(
    tmp_path, monkeypatch
):
    path = tmp_path / "model"
    path.mkdir()
    (path / "weights").write_text("old")
    monkeypatch.setattr(atomic_files, "_exchange", lambda one, other: False)
    rename = os.rename
    calls = []

    def interrupted(source, target):
        calls.append(target)
        if len(calls) == 3:  # not over the old one, old one aside, new one
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        with atomic_files.writing_folder(path, "replace") as new:
            (new / "weights").write_text("new")
    assert (path / "weights").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_what_is_there_is_refused_or_kept(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "weights").write_text("first")
    with pytest.raises(FileExistsError, match="model"):
        with atomic_files.writing_folder(path) as new:
            (new / "weights").write_text("second")
    with atomic_files.writing_folder(path, "keep") as new:
        (new / "weights").write_text("second")
    assert (path / "weights").read_text() == "first"
    assert os.listdir(tmp_path) == ["model"]


def test_modes_are_those_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_files.writing_file(tmp_path / "file") as new:
            new.touch(0o600)  # as safetensors does
        with atomic_files.writing_folder(tmp_path / "folder") as new:
            (new / "file").touch(0o600)
    finally:
        os.umask(before)
    names = ("file", "folder", "folder/file")
    modes = [stat.S_IMODE((tmp_path / x).stat().st_mode) for x in names]
    assert modes == [0o640, 0o750, 0o640]


def test_a_link_stays_and_the_file_it_names_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("old")
    (tmp_path / "link").symlink_to("there/file")
    (tmp_path / "to_be").symlink_to("there/new")
    atomic_files.write_text(tmp_path / "link", "new")
    atomic_files.write_text(tmp_path / "to_be", "made")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "new"
    assert (tmp_path / "there" / "new").read_text() == "made"


def test_a_fifo_is_written_to(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to(fifo)
    for path in (fifo, tmp_path / "link"):
        got = []
        reader = threading.Thread(
            target=lambda: got.append(fifo.read_text()),  # noqa: B023
            daemon=True,
        )
        reader.start()
        atomic_files.write_text(path, "text")
        reader.join()
        assert got == ["text"]
    assert stat.S_ISFIFO(fifo.lstat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "link"])
@pytest.mark.parametrize("to", ["pipe", "file"])
def test_standard_output_is_written_to_in_order(tmp_path, name, to):
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = (
        "import sys; from kbert.atomic_files import write_text\n"
        "print('before', flush=True)\n"
        f"write_text({name!r}, 'within\\n')\n"
        "print('after')"
    )
    with (tmp_path / "out").open("w+") as out:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stdout=subprocess.PIPE if to == "pipe" else out,
            check=True,
            text=True,
        )
        out.seek(0)
        got = done.stdout or out.read()
    assert got == "before\nwithin\nafter\n"
    assert pathlib.Path("/dev/stdout").is_symlink()


def _folder(path):
    path.mkdir()


def _socket(path):
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(path))


def _loop(path):
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_folder, "a folder"),
        (_socket, "a socket"),
        (_loop, "symbolic links"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path, make, message, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path = pathlib.Path("out")
    make(path)
    before = path.lstat()
    with pytest.raises(ValueError, match=f"^out: .*{message}"):
        atomic_files.write_text(path, "text")
    assert os.path.samestat(before, path.lstat())


def test_a_fifo_is_refused_where_a_file_is_needed(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="fifo: a FIFO; needs a file"):
        with atomic_files.writing_file(tmp_path / "fifo"):
            pass
    assert os.listdir(tmp_path) == ["fifo"]


def test_errors_name_the_path_that_was_given(tmp_path):
    path = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        atomic_files.write_text(path, "")
    assert caught.value.filename == str(path)
    with pytest.raises(IsADirectoryError) as caught:
        with atomic_files.writing_file(tmp_path / "file") as new:
            new.mkdir()
            new.write_text("")
    assert caught.value.filename == str(tmp_path / "file")


def test_a_folder_that_is_removed_is_never_seen_in_part(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    (path / "weights").write_text("")
    with monkeypatch.context() as patched:
        patched.setattr(
            atomic_files.shutil,
            "rmtree",
            lambda found, **_: seen.append(path.exists()),
        )
        seen = []
        atomic_files.remove_folder(path)
    assert seen == [False]
    atomic_files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_folder_is_locked_by_one_process(tmp_path):
    with atomic_files.locked(tmp_path / "run", "--output_dir"):
        with pytest.raises(ValueError, match="--output_dir=.*run: another run"):
            with atomic_files.locked(tmp_path / "run", "--output_dir"):
                pass
    with atomic_files.locked(tmp_path / "run", "--output_dir"):
        pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pathlib.Path.touch, "a file"),
        (os.mkfifo, "a FIFO"),
        (_loop, "a broken link"),
    ],
)
@pytest.mark.parametrize("inside", ["", "in/side"])
def test_what_is_no_folder_is_refused(tmp_path, make, message, inside):
    make(tmp_path / "out")
    message = f"out: {message}; needs a folder"
    path = tmp_path / "out" / inside
    with pytest.raises(ValueError, match=message):
        with atomic_files.writing_folder(path):
            pass
    with pytest.raises(ValueError, match=f"--output_dir=.*{message}"):
        with atomic_files.locked(path, "--output_dir"):
            pass
    assert os.listdir(tmp_path) == ["out"]


def test_a_link_to_a_folder_that_is_to_be_made(tmp_path):
    (tmp_path / "link").symlink_to("there")
    with atomic_files.writing_folder(tmp_path / "link"):
        pass
    assert (tmp_path / "there").is_dir() and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("make", [pathlib.Path.touch, os.mkfifo, _loop])
def test_a_resumable_folder_replaces_no_other(tmp_path, make):
    make(tmp_path / "out")
    with pytest.raises(ValueError, match="out: .*needs|out: exists already"):
        with atomic_files.resumable_folder(tmp_path / "out", {}):
            pass
    assert os.listdir(tmp_path) == ["out"]
