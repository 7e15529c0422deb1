# SPDX-License-Identifier: Apache-2.0
"""Tables of the three formats, sound and broken."""

import json

import pytest

from kbert.data.tables import (
    Rows,
    label_ids,
    label_numbers,
    read_table,
    stream,
)


@pytest.fixture
def table(tmp_path):
    """A function that writes a file and gives its path."""

    def table(name, content):
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(data)
        return str(path)

    return table


def test_tsv_keeps_quotes_and_skips_the_byte_order_mark(table):
    path = table(
        "pairs.tsv",
        '\ufeffQuality\t#1 String\t#2 String\n1\tHe said " hm \t"b"\n\n'
        "0\tc \t\r\n",
    )
    assert read_table(path, ["#2 String", "#1 String"], "Quality") == Rows(
        path=path,
        lines=[2, 4],
        texts=(['"b"', ""], ['He said " hm ', "c "]),
        labels=["1", "0"],
    )


def test_csv_has_commas_quotes_and_newlines_in_fields(table):
    path = table(
        "some.CSV",
        'label,text\r\n1,"a, ""b""\r\nc"\r\n\r\n0,d e\r\n2,"é"',
    )
    assert read_table(path, ["text"], "label") == Rows(
        path=path,
        lines=[2, 5, 6],
        texts=(['a, "b"\nc', "d e", "é"],),
        labels=["1", "0", "2"],
    )


def test_json_lines_spell_labels_as_json_does(table):
    labels = ["yes", 1, 2.5, True]
    lines = [json.dumps({"t": f"é{i}", "l": x}) for i, x in enumerate(labels)]
    path = table("rows.jsonl", "\n".join(lines) + "\n\n")
    assert read_table(path, ["t"], "l") == Rows(
        path=path,
        lines=[1, 2, 3, 4],
        texts=(["é0", "é1", "é2", "é3"],),
        labels=["yes", "1", "2.5", "true"],
    )


def test_without_a_label_column(table):
    path = table("rows.tsv", "a\tb\n1\t2\n")
    rows = read_table(path, ["b"], None)
    assert (rows.texts, rows.labels, len(rows)) == ((["2"],), None, 1)


@pytest.mark.parametrize("name", ["rows.tsv", "rows.csv"])
def test_of_one_column_an_empty_line_is_an_empty_text(table, name):
    rows = read_table(table(name, "\ntext\na\n\nb\n"), ["text"], None)
    assert (rows.texts, rows.lines) == ((["a", "", "b"],), [3, 4, 5])


BROKEN = [
    ("a.tsv", "", "a.tsv: the file is empty"),
    ("a.csv", "\n\n", "a.csv: the file is empty"),
    ("a.tsv", "t\tl\n", "a.tsv: no rows"),
    ("a.jsonl", "\n", "a.jsonl: no rows"),
    ("a.txt", "t\tl\nx\t1\n", r"a.txt: extension '.txt'; wanted .tsv, .csv"),
    ("a.tsv", "text\tl\nx\t1\n", r"a.tsv:1: no column 't'; .*\['text', 'l'\]"),
    ("a.csv", "t,L\nx,1\n", r"a.csv:1: no column 'l'; there are \['t', 'L'\]"),
    ("a.tsv", "t\tl\tt\nx\t1\ty\n", "a.tsv:1: two columns 't'"),
    ("a.tsv", "t\tl\nx\t1\nx\n", "a.tsv:3: 1 fields; the header has 2"),
    ("a.csv", 't,l\n"\n",1\nx,1,2\n', "a.csv:4: 3 fields; the header has 2"),
    ("a.csv", 't,l\nx,1\n"x"y,1\n', "a.csv:3: not CSV"),
    ("a.csv", 't,l\nx,1\n"x,1\ny,1\n', "a.csv:3: not CSV"),
    ("a.tsv", "t\tl\nx\t1\nx\t\n", "a.tsv:3: 'l' is empty"),
    ("a.tsv", b"t\tl\nx\t1\nx\xff\t1\n", "a.tsv:3: not UTF-8: byte 0xff"),
    ("a.csv", b"t,l\nx,1\nx\xff,1\n", "a.csv:3: not UTF-8"),
    ("a.jsonl", b'{"t":"x","l":1}\n{"t":"\xe9"}\n', "a.jsonl:2: not UTF-8"),
    ("a.jsonl", '{"t":"x","l":1}\n{"t":\n', "a.jsonl:2: not JSON"),
    ("a.jsonl", "[" * 99999, "a.jsonl:1: not JSON"),
    ("a.jsonl", '\n["x", 1]\n', r'a.jsonl:2: wanted an object, found \["x"'),
    ("a.jsonl", '{"t":"x"}\n', r"a.jsonl:1: no column 'l'; there are \['t'\]"),
    ("a.jsonl", '{"t":5,"l":1}\n', "a.jsonl:1: 't' is 5; wanted a string"),
    ("a.jsonl", '{"t":"\\udc80","l":1}', r'a.jsonl:1: "\\udc80": half of a s'),
    ("a.jsonl", '{"t":"x","l":"\\ud8ff"}', r'a.jsonl:1: "\\ud8ff": half of'),
    ("a.jsonl", '{"t":"","l":null}\n', "a.jsonl:1: 'l' is null; wanted a st"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_broken_tables_name_file_and_line(table, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_table(table(name, content), ["t"], "l")


def test_a_stream_gives_what_is_sound_before_it_breaks(table):
    rows = stream(table("a.tsv", "t\tl\nx\t1\n\ny\t2\nz\n"), ["l", "t"])
    assert [next(rows), next(rows)] == [(2, ["1", "x"]), (4, ["2", "y"])]
    with pytest.raises(ValueError, match="a.tsv:5: 1 fields; the header has"):
        next(rows)


def test_json_lines_may_have_lists_where_they_are_wanted(table):
    path = table("a.jsonl", '{"a": "x", "b": ["y", ""]}\n{"a": "z", "b": 1}\n')
    rows = stream(path, ["a", "b"], lists=["b"])
    assert next(rows) == (1, ["x", ["y", ""]])
    with pytest.raises(
        ValueError, match="a.jsonl:2: 'b' is 1; wanted a string"
    ):
        next(rows)
    with pytest.raises(
        ValueError, match=r"a.jsonl:1: 'b' is \[\"y\", \"\"\]; wa"
    ):
        next(stream(path, ["a", "b"], lists=["a"]))


def test_a_missing_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="a.tsv"):
        read_table(str(tmp_path / "a.tsv"), ["t"], "l")


def test_csv_has_fields_of_any_length(table):
    long = "x" * 200_000
    rows = read_table(table("a.csv", f"t,l\n{long},1\n"), ["t"], "l")
    assert rows.texts == ([long],)


@pytest.mark.parametrize("label", ["a", "nan", "-inf", "1e39", "1_0", " "])
def test_labels_that_are_no_numbers(table, label):
    assert label_numbers(
        read_table(table("a.tsv", "t\tl\nx\t-1.5e3\n"), ["t"], "l")
    ) == [-1500.0]
    rows = read_table(table("a.tsv", f"t\tl\nx\t1\ny\t{label}\n"), ["t"], "l")
    with pytest.raises(ValueError, match=r"a.tsv:3: label '.*'; wanted a num"):
        label_numbers(rows)


def test_labels_become_their_places(table):
    path = table("a.csv", 't,l\n"x\ny",no\nx,yes\nx,no\n')
    rows = read_table(path, ["t"], "l")
    ids = label_ids(rows, [[x] for x in rows.labels], ["yes", "maybe", "no"])
    assert ids == [[2], [0], [2]]
    message = r"a.csv:4: label 'yes' is not one of \['no', 'maybe'\]"
    with pytest.raises(ValueError, match=message):
        label_ids(rows, [[x] for x in rows.labels], ("no", "maybe"))
