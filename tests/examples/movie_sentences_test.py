# SPDX-License-Identifier: Apache-2.0
import io
import tarfile

import pytest

from examples import movie_sentences

RATINGS = (
    "1\t2.3\tA gem. \r\n"
    "2\t-0.6\tLong, and \xe9tat-like.\r\n"
    "3\t0.5\tNeither.\r\n"
    "4\t-0.5\tNor.\r\n"
    "5\t3.1\tA gem.\r\n"
)


def _tar_gz(name, content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def test_sign_is_the_label_and_near_zero_is_left_out():
    assert movie_sentences.read_rows(RATINGS) == [
        ("A gem.", "positive"),
        ("Long, and \xe9tat-like.", "negative"),
    ]


def test_split_holds_out_a_fifth_that_the_seed_decides():
    rows = [(f"sentence {i}", "positive") for i in range(101)]
    train, dev = movie_sentences.split(rows, seed=3)
    assert (len(train), len(dev)) == (81, 20)
    assert sorted(train + dev) == sorted(rows)
    assert (train, dev) == movie_sentences.split(rows, seed=3)
    assert dev != movie_sentences.split(rows, seed=4)[1]
    assert dev != rows[:20]


def test_files_come_out_of_the_nested_archive(tmp_path, monkeypatch):
    inner = _tar_gz(movie_sentences._RATINGS, RATINGS.encode("utf-8"))
    archive = _tar_gz(movie_sentences._INNER_ARCHIVE, inner)
    (tmp_path / movie_sentences._ARCHIVE).write_bytes(archive)
    with pytest.raises(ValueError, match="sha256 is .*; needs 5d7c06e0"):
        movie_sentences.prepare(str(tmp_path))
    digest = movie_sentences.hashlib.sha256(archive).hexdigest()
    monkeypatch.setattr(movie_sentences, "_SHA256", digest)
    train, dev = movie_sentences.prepare(str(tmp_path))
    lines = train.read_text("utf-8").split("\n")
    assert lines[0] == "sentence\tlabel" and lines[-1] == ""
    assert set(lines[1:-1]) == {
        "A gem.\tpositive",
        "Long, and \xe9tat-like.\tnegative",
    }
    assert dev.read_text("utf-8") == "sentence\tlabel\n"
