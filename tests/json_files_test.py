# SPDX-License-Identifier: Apache-2.0
"""JSON files: what is refused, and the line that names file and field."""

import dataclasses
import json
import os
import re
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from kbert import json_files
from kbert.json_files import Range


class _Entry(TypedDict):
    rows: Annotated[int, Range(at_least=0, at_most=10)]


@dataclasses.dataclass
class _Trial:
    name: str
    score: float | None = None


class _Schema(TypedDict, total=False):
    version: Literal[1, 2]
    flag: bool
    rate: Annotated[float, Range(at_least=0, less_than=1)]
    loss: Annotated[float, Range(finite=False)]
    labels: list[str]
    files: dict[str, _Entry]
    trials: list[_Trial]
    anything: Any


def _write(tmp_path, text):
    path = tmp_path / "f.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_right_fields_are_given_back(tmp_path):
    fields = {
        "version": 2,
        "flag": False,
        "rate": 0,
        "labels": ["a", "á"],
        "files": {"x.y": {"rows": 10}},
        "trials": [{"name": "t", "score": None}, {"name": "u", "score": 1}],
        "anything": [{"deep": [1e400]}],
    }
    found = json_files.read(_write(tmp_path, json.dumps(fields)), _Schema)
    assert found == fields
    assert type(found["rate"]) is float
    [nan] = json_files.read(_write(tmp_path, '{"loss": NaN}'), _Schema).values()
    assert nan != nan


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 3}', "version is 3; needs one of 1, 2"),
        ('{"version": true}', "version is true; needs one of 1, 2"),
        ('{"version": 1.0}', "version is 1.0; needs"),
        ('{"flag": 1}', "flag is 1; needs true or false"),
        ('{"rate": 1}', "rate is 1; needs 0 <= x < 1"),
        ('{"rate": -1e-9}', "rate is -1e-09; needs 0 <= x < 1"),
        ('{"rate": NaN}', "rate is NaN; needs 0 <= x < 1"),
        ('{"rate": 1e999}', "rate is Infinity; needs 0 <= x < 1"),
        ('{"rate": true}', "rate is true; needs a number"),
        ('{"rate": "1"}', 'rate is "1"; needs a number'),
        ('{"labels": "ab"}', 'labels is "ab"; needs a list'),
        ('{"labels": ["a", 1]}', r"labels\[1\] is 1; needs a string"),
        ('{"labels": ["\\ud800"]}', r"labels\[0\] is .*surrogate"),
        ('{"files": []}', r"files is \[\]; needs an object"),
        ('{"files": {"a b": {"rows": 11}}}', r'files."a b".rows is 11; needs'),
        ('{"files": {"a": {"rows": 1.0}}}', "files.a.rows is 1.0; needs a wh"),
        (f'{{"files": {{"a": {{"rows": 1{"0" * 30}}}}}}}', "files.a.rows .*64"),
        ('{"files": {"a": {}}}', r"files.a: fields \['rows'\] are missing"),
        ('{"files": {"a": null}}', "files.a is null; needs an object"),
        ('{"trials": [{"name": "x", "size": 1}]}', r'\[0\]: unknown .*"size"'),
        ('{"trials": [{"score": 1}]}', r"trials\[0\]: fields \['name'\] are"),
        ('{"trials": [{"name": "x", "score": NaN}]}', r"trials\[0\].score is"),
        ('{"vorsion": 1}', r'unknown fields \["vorsion"\]'),
        ("[1]", r"\[1\]; needs an object"),
        ("1", "1; needs an object"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, text, message):
    path = _write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        json_files.read(path, _Schema)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: not JSON: Expecting value at column 1"),
        (
            '{"flag": true,\n "rate" 1}',
            ":2: not JSON: Expecting ':'.* column 9",
        ),
        ('{"flag": true, "flag": true}', ':1: .*"flag" occurs twice'),
        ('{"anything": ' + "[" * 200 + "]" * 200 + "}", ":1: .*nested more"),
        ("[" * 10**5, ":1: .*nested more"),
        ('{"a":' * 10**5, ":1: .*nested more"),
        ("[" + "9" * 5000 + "]", ":1: not JSON: Exceeds the limit"),
    ],
)
def test_what_is_no_json_is_named_with_its_line(tmp_path, text, message):
    path = _write(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(str(path)) + message) as e:
        json_files.read(path, _Schema)
    assert "\n" not in str(e.value) and len(str(e.value)) < 300


def test_bytes_that_are_no_utf8_are_named_with_their_line(tmp_path):
    path = tmp_path / "f.json"
    path.write_bytes(b'{"flag":\n "\xff"}')
    with pytest.raises(ValueError, match="f.json:2: .*0xff is not UTF-8"):
        json_files.read(path)


def test_a_file_too_large_is_not_read(tmp_path):
    path = tmp_path / "f.json"
    with open(path, "wb") as file:
        file.truncate(10**12)  # takes no space
    with pytest.raises(ValueError, match="1,000,000,000,000 bytes; needs at"):
        json_files.read(path)


def test_a_pipe_and_a_device_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: a FIFO .*regular file"):
        json_files.read(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="link: a character device"):
        json_files.read(tmp_path / "link")
    with pytest.raises(ValueError, match="a folder; needs a regular file"):
        json_files.read(tmp_path)


def test_lines_are_read_until_one_that_is_truncated(tmp_path):
    path = _write(tmp_path, '{"rows": 1}\n\n{"rows": 2}\n{"rows"')
    assert [x["rows"] for x in json_files.read_lines(path, _Entry)] == [1, 2]
    path = _write(tmp_path, '{"rows": 1}\n{"rows": []}\n')
    with pytest.raises(ValueError, match=r"f.json:2: rows is \[\]; needs"):
        list(json_files.read_lines(path, _Entry))
    path = _write(tmp_path, '{"rows": 1}\n{"rows": 1,}\n')
    with pytest.raises(ValueError, match="f.json:2: not JSON: .* column 12"):
        list(json_files.read_lines(path, _Entry))


def test_fields_of_others_are_kept_where_they_may_be(tmp_path):
    path = _write(tmp_path, '{"rows": 3, "more": {"x": 1}}')
    found = json_files.read(path, _Entry, others=Any)
    assert found == {"rows": 3, "more": {"x": 1}}
    with pytest.raises(ValueError, match="more is {.*; needs a number"):
        json_files.read(path, _Entry, others=float)


class _Optional(TypedDict):
    name: NotRequired[str | None]


def test_an_optional_field_may_be_missing_or_null():
    assert json_files.check({}, _Optional, "x") == {}
    assert json_files.check({"name": None}, _Optional, "x") == {"name": None}
    with pytest.raises(ValueError, match="x: name is 1; needs a string"):
        json_files.check({"name": 1}, _Optional, "x")
