# SPDX-License-Identifier: Apache-2.0
"""Tables of all formats, sound and broken."""

import gzip
import json
import math
import os
import pathlib

import pytest

from kbert.data.tables import (
    Rows,
    check_labels,
    count_rows,
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
        path.write_bytes(gzip.compress(data) if name.endswith("z") else data)
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
        texts=(['a, "b"\r\nc', "d e", "é"],),
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
    ("a.txt", "t\tl\nx\t1\n", r"a.txt: extension '.txt'; needs .tsv, .csv"),
    ("a", "t\tl\nx\t1\n", r"a: extension ''; needs .tsv, .csv"),
    ("a.gz", "t\tl\nx\t1\n", r"a.gz: extension '.gz'; needs .tsv, .csv"),
    ("a.parquet.gz", "x", r"a.parquet.gz: extension '.gz'; needs .tsv, .csv"),
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
    ("a.jsonl", "[" * 99999, "a.jsonl:1: JSON that is nested more"),
    ("a.jsonl", '\n["x", 1]\n', r'a.jsonl:2: found \["x", 1\]; needs an ob'),
    ("a.jsonl", '{"t":"x"}\n', r"a.jsonl:1: no column 'l'; there are \['t'\]"),
    ("a.jsonl", '{"t":5,"l":1}\n', "a.jsonl:1: 't' is 5; needs a string"),
    ("a.jsonl", '{"t":"\\udc80","l":1}', r'a.jsonl:1: "\\udc80": half of a s'),
    ("a.jsonl", '{"t":"x","l":"\\ud8ff"}', r'a.jsonl:1: "\\ud8ff": half of'),
    ("a.jsonl", '{"t":"","l":null}\n', "a.jsonl:1: 'l' is null; needs a str"),
    ("a.jsonl", '{"t":"","l":NaN}\n', "a.jsonl:1: 'l' is NaN; needs a strin"),
    ("a.jsonl", '{"t":"","l":-Infinity}', "a.jsonl:1: 'l' is -Infinity; need"),
    ("a.jsonl", '{"t":"","l":[]}', r"a.jsonl:1: 'l' is \[\]; needs a string"),
    ("a.jsonl", '{"t":"","l":""}', "a.jsonl:1: 'l' is empty"),
    ("a.csv", "t,l\nx, \n", "a.csv:2: 'l' is empty"),
    ("a.csv", "t,l,u,u\nx,1,2,3\n", "a.csv:1: two columns 'u'; needs differe"),
    ("a.jsonl", '{"t":"x","l":1,"l":2}', 'a.jsonl:1: not JSON: field "l" oc'),
    ("a.csv", "t,l\nt,l\nx,1\n", r"a.csv:2: the row equals the header, \['t"),
    ("a.tsv", "l\tt\n1\tx\nl\tt\n", "a.tsv:3: the row equals the header"),
    ("a.jsonl", '{"t":"t","l":"l"}\n', "a.jsonl:1: the row equals the header"),
    ("a.csv.gz", "t,l\nx\n", "a.csv.gz:2: 1 fields; the header has 2"),
]


def test_a_json_line_that_is_broken_has_one_line_number(table):
    path = table("a.jsonl", '{"t":"x","l":1}\n{"t" "x"}\n')
    with pytest.raises(ValueError) as found:
        read_table(path, ["t"], "l")
    message = "not JSON: Expecting ':' delimiter at column 6."
    assert str(found.value) == f"{path}:2: {message}"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_missing_columns_name_their_flags(table, tmp_path, name):
    if name == "a.parquet":
        path = _parquet(tmp_path, {"x": ["1"], "y": ["2"]})
    else:
        is_csv = name == "a.csv"
        path = table(name, "x,y\n1,2\n" if is_csv else '{"x":"1","y":"2"}\n')
    message = r"no column 't'; there are \['x', 'y'\]. Name one .*--text_colu"
    with pytest.raises(ValueError, match=message):
        read_table(path, ["t"], "y")
    with pytest.raises(ValueError, match=r"no column 'l'; .*--label_column\.$"):
        read_table(path, ["x"], "l")


def test_given_names_are_not_repeated_as_a_row(table):
    path = table("a.csv", "t,l\nx,1\n")
    with pytest.raises(ValueError, match="a.csv:1: the row equals the header"):
        read_table(path, ["t"], "l", header=["t", "l"])
    with pytest.raises(ValueError, match="a.csv:1: two columns 't'"):
        read_table(path, ["t"], None, header=["t", "t"])


def test_one_text_may_be_named_as_its_column(table):
    rows = read_table(table("a.csv", "text\na\ntext\n"), ["text"], None)
    assert rows.texts == (["a", "text"],)
    with pytest.raises(ValueError, match="a.csv:2: the row equals the header"):
        read_table(table("a.csv", "text\ntext\na\n"), ["text"], None)


def test_zipped_tables(table):
    path = table("a.csv.gz", '\ufefft,l\n"é\nx",1\ny,2\n')
    got = read_table(path, ["t"], "l")
    assert got == Rows(path, [2, 4], (["é\nx", "y"],), ["1", "2"])
    assert count_rows(path) == 4  # lines
    path = table("a.TSV.GZ.gz", "t\tl\nx\t1\n")
    with pytest.raises(ValueError, match="extension '.gz'; needs .tsv"):
        read_table(path, ["t"], "l")
    path = table("b.jsonl.gz", '{"t": "x", "l": true}\n')
    assert read_table(path, ["t"], "l").labels == ["true"]


@pytest.mark.parametrize("cut", [3, 12, 40])
def test_a_damaged_zip_is_named(table, tmp_path, cut):
    whole = gzip.compress(b"t,l\n" + bytes(range(97, 123)) * 9)
    (tmp_path / "a.csv.gz").write_bytes(whole[:cut])
    with pytest.raises(ValueError, match=r"a.csv.gz: damaged: "):
        read_table(str(tmp_path / "a.csv.gz"), ["t"], "l")
    (tmp_path / "a.csv.gz").write_bytes(b"t,l\nx,1\n")
    with pytest.raises(ValueError, match=r"a.csv.gz: damaged: Not a gzipped"):
        read_table(str(tmp_path / "a.csv.gz"), ["t"], "l")


def _parquet(folder, columns, **options):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = str(folder / "a.parquet")
    parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def test_parquet_has_the_types_of_json(tmp_path):
    columns = {
        "t": ["é", "b\n", "c"],
        "l": [3, 1, 2],
        "f": [0.5, 1.0, 2.0],
        "b": [True, False, True],
        "s": [["x", "y"], [], ["z"]],
    }
    path = _parquet(tmp_path, columns, row_group_size=2)
    rows = read_table(path, ["t"], "l")
    assert rows == Rows(path, [1, 2, 3], (columns["t"],), ["3", "1", "2"])
    assert read_table(path, ["t"], "f").labels == ["0.5", "1.0", "2.0"]
    assert read_table(path, ["t"], "b").labels == ["true", "false", "true"]
    lists = stream(path, ["t", "s"], lists=["s"], whole=True)
    assert next(lists) == (
        1,
        [
            "é",
            ["x", "y"],
            {"t": "é", "l": 3, "f": 0.5, "b": True, "s": ["x", "y"]},
        ],
    )
    assert count_rows(path) == 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"t": ["x", None], "l": ["1", "2"]}, ":2: 't' is null; needs a stri"),
        ({"t": ["x", "y"], "l": ["1", None]}, ":2: 'l' is null; needs a stri"),
        ({"t": ["x"], "l": [math.nan]}, ":1: 'l' is NaN; needs a string, nu"),
        ({"t": [b"x"], "l": ["1"]}, """:1: 't' is "b'x'"; needs a string"""),
        ({"t": ["t"], "l": ["l"]}, ":1: the row equals the header"),
        ({"t": [], "l": []}, ": no rows"),
    ],
)
def test_bad_rows_of_parquet_are_named(tmp_path, columns, message):
    path = _parquet(tmp_path, columns)
    with pytest.raises(ValueError, match=f"a.parquet{message}"):
        read_table(path, ["t"], "l")


def test_damaged_parquet_is_named(tmp_path):
    path = _parquet(tmp_path, {"t": ["x" * 99] * 99, "l": ["1"] * 99})
    whole = pathlib.Path(path).read_bytes()
    for content in (b"", b"t,l\nx,1\n", whole[:-9], whole[9:]):
        pathlib.Path(path).write_bytes(content)
        with pytest.raises(ValueError, match="a.parquet: not Parquet, or dama"):
            read_table(path, ["t"], "l")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = _parquet(tmp_path, {"t": ["x"], "l": ["1"]})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = r"parquet: .*'kbert-keras\[parquet\]'"
    with pytest.raises(ValueError, match=message):
        read_table(path, ["t"], "l")


def test_a_text_file_has_a_text_a_line(table):
    path = table("a.txt", '\ufeff a\t\n\n"b\u2028\r\ntext\n')
    rows = list(stream(path, ["text"]))
    assert rows == [(1, [" a\t"]), (2, [""]), (3, ['"b\u2028']), (4, ["text"])]
    assert list(stream(table("a.txt.gz", "é"), ["t"])) == [(1, ["é"])]
    with pytest.raises(ValueError, match="extension '.txt'; needs .tsv"):
        next(stream(path, ["a", "b"]))


MISSING = ["nan", "NaN", "NA", "n/a", "N/A", "null", "NULL", "<NA>", "None"]


@pytest.mark.parametrize("label", [*MISSING, " NA ", "#N/A"])
def test_what_stands_for_no_label_is_refused(table, label):
    rows = read_table(table("a.tsv", f"t\tl\nx\ta\ny\t{label}\n"), ["t"], "l")
    by_row = [[x] for x in rows.labels]
    with pytest.raises(ValueError, match=r"a.tsv:3: label '.*--labels\.$"):
        check_labels(rows.path, rows.lines, by_row)
    check_labels(rows.path, rows.lines, by_row, known=[label])


def test_labels_that_only_look_so(table):
    path = table("a.tsv", "t\tl\nx\tnone\ny\tnana\nz\t0\n")
    rows = read_table(path, ["t"], "l")
    check_labels(rows.path, rows.lines, [[x] for x in rows.labels])


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_broken_tables_name_file_and_line(table, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_table(table(name, content), ["t"], "l")


def test_a_stream_gives_what_is_sound_before_it_breaks(table):
    rows = stream(table("a.tsv", "t\tl\nx\t1\n\ny\t2\nz\n"), ["l", "t"])
    assert [next(rows), next(rows)] == [(2, ["1", "x"]), (4, ["2", "y"])]
    with pytest.raises(ValueError, match="a.tsv:5: 1 fields; the header has"):
        next(rows)


def test_json_lines_may_have_lists_where_they_are_needed(table):
    path = table("a.jsonl", '{"a": "x", "b": ["y", ""]}\n{"a": "z", "b": 1}\n')
    rows = stream(path, ["a", "b"], lists=["b"])
    assert next(rows) == (1, ["x", ["y", ""]])
    with pytest.raises(ValueError, match="a.jsonl:2: 'b' is 1; needs a string"):
        next(rows)
    with pytest.raises(
        ValueError, match=r"a.jsonl:1: 'b' is \[\"y\", \"\"\]; ne"
    ):
        next(stream(path, ["a", "b"], lists=["a"]))


def test_a_missing_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="a.tsv"):
        read_table(str(tmp_path / "a.tsv"), ["t"], "l")


def test_csv_has_fields_of_any_length(table):
    long = "x" * 200_000
    rows = read_table(table("a.csv", f"t,l\n{long},1\n"), ["t"], "l")
    assert rows.texts == ([long],)


@pytest.mark.parametrize("label", ["a", "nan", "-inf", "1e39", "1_0", "NA"])
def test_labels_that_are_no_numbers(table, label):
    assert label_numbers(
        read_table(table("a.tsv", "t\tl\nx\t-1.5e3\n"), ["t"], "l")
    ) == [-1500.0]
    rows = read_table(table("a.tsv", f"t\tl\nx\t1\ny\t{label}\n"), ["t"], "l")
    with pytest.raises(ValueError, match=r"a.tsv:3: label '.*'; needs a num"):
        label_numbers(rows)


def test_labels_become_their_indices(table):
    path = table("a.csv", 't,l\n"x\ny",no\nx,yes\nx,no\n')
    rows = read_table(path, ["t"], "l")
    ids = label_ids(rows, [[x] for x in rows.labels], ["yes", "maybe", "no"])
    assert ids == [[2], [0], [2]]
    message = r"a.csv:4: label 'yes' is not one of \['no', 'maybe'\]"
    with pytest.raises(ValueError, match=message):
        label_ids(rows, [[x] for x in rows.labels], ("no", "maybe"))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.csv.gz"])
def test_a_pipe_is_refused_and_not_read(tmp_path, name):
    if name == "a.parquet":
        pytest.importorskip("pyarrow")
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}: a FIFO"):
        read_table(str(tmp_path / name), ["t"], "l")
    with pytest.raises(ValueError, match=f"{name}: a FIFO"):
        count_rows(str(tmp_path / name))
