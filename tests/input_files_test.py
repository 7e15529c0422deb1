# SPDX-License-Identifier: Apache-2.0
"""What is no regular file is refused as an input, before it is opened."""

import os
import socket

import pytest

from kbert.input_files import check_regular

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    f"oid sha256:{'0' * 64}\nsize 438007537\n"
)


def test_a_file_and_a_link_to_one_are_taken(tmp_path):
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "link").symlink_to("file")
    assert check_regular(tmp_path / "file") == 3
    assert check_regular(str(tmp_path / "link")) == 3
    with open(tmp_path / "file", "rb") as file:  # as /dev/stdin < file
        assert check_regular(f"/dev/fd/{file.fileno()}") == 3


def test_a_pipe_of_the_shell_is_refused():
    reading, writing = os.pipe()
    try:
        with pytest.raises(ValueError, match="/dev/fd/.*: a FIFO"):
            check_regular(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
        os.close(writing)


def test_what_is_no_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for path, kind in {
            "fifo": "a FIFO",
            "socket": "a socket",
            "/dev/zero": "a character device",
            "/dev/null": "a character device",
            ".": "a folder",
        }.items():
            with pytest.raises(ValueError, match=f"{path}: {kind}"):
                check_regular(path)
    os.symlink("loop", "loop")
    with pytest.raises(OSError, match="loop"):
        check_regular("loop")
    with pytest.raises(FileNotFoundError, match="none"):
        check_regular("none")


def test_a_git_lfs_pointer_is_named(tmp_path):
    (tmp_path / "weights").write_text(POINTER)
    with pytest.raises(ValueError, match="Git LFS pointer.* run git lfs pull"):
        check_regular(tmp_path / "weights")
    (tmp_path / "text").write_text(POINTER + "x" * 2000)  # speaks of them
    assert check_regular(tmp_path / "text") > 2000
