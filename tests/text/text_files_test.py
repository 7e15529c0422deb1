# SPDX-License-Identifier: Apache-2.0
"""Finding and reading text files."""

import os
import tracemalloc

import pytest

from kbert.text import text_files


def test_lines_end_at_newlines_only(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffa\u2028b\r\n\n c\x0cd \ne".encode())
    assert list(text_files.read_lines(path)) == [
        "a\u2028b",
        "",
        " c\x0cd ",
        "e",
    ]


def test_a_file_that_is_not_utf8_names_its_line(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"one\ntwo\nthr\xe9e\n")
    lines = text_files.read_lines(path)
    assert [next(lines), next(lines)] == ["one", "two"]
    with pytest.raises(ValueError, match=r"text.txt:3: .*0xe9 at column 4"):
        next(lines)


def test_reading_holds_little(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a line of some words\n" * 100_000)
    tracemalloc.start()
    assert sum(1 for _ in text_files.read_lines(path)) == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000  # the file has 2.1 MB


def test_expand_sorts_and_takes_each_file_once(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    names = ["b.txt", "a.txt", "deep/er/c.txt", "x[1].txt"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "folder.txt").mkdir()
    at = f"{tmp_path}/"
    assert text_files.expand(f"{at}*.txt,{at}a.txt") == [
        f"{at}a.txt",
        f"{at}b.txt",
        f"{at}x[1].txt",
    ]
    assert text_files.expand(f"{at}**/c.txt") == [f"{at}deep/er/c.txt"]
    assert text_files.expand(f"{at}x[1].txt") == [f"{at}x[1].txt"]


def test_expand_names_the_pattern_without_a_file(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match=r"No file matches '.*/\*\.csv'"):
        text_files.expand(f"{tmp_path}/a.txt,{tmp_path}/*.csv")


def test_expand_leaves_out_no_data_silently(tmp_path):
    (tmp_path / "a.txt").touch()
    os.mkfifo(tmp_path / "b.txt")
    with pytest.raises(ValueError, match=r"b\.txt: a FIFO"):
        text_files.expand(f"{tmp_path}/*.txt")
    (tmp_path / "b.txt").unlink()
    (tmp_path / "b.txt").symlink_to("b.txt")
    with pytest.raises(ValueError, match=r"b\.txt: a broken link"):
        text_files.expand(f"{tmp_path}/*.txt")
    with pytest.raises(ValueError, match=r"b\.txt: a broken link"):
        text_files.expand(f"{tmp_path}/b.txt")
