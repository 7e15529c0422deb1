# SPDX-License-Identifier: Apache-2.0
"""The BEIR layout, sound and broken."""

import gzip
import re

import pytest

from kbert.data.retrieval import is_qrels, read_retrieval

CORPUS = """\
{"_id": "d1", "title": "Lakes", "text": "A lake is deep.", "metadata": {}}
{"_id": "d2", "text": "Rain falls."}
{"_id": "d3", "title": "", "text": "The sun."}
"""
QUERIES = """\
{"_id": "q1", "text": "how deep?"}
{"_id": "q2", "text": "of another split"}
{"_id": "q3", "text": "what falls?"}
{"_id": "q4", "text": "no answer"}
"""
QRELS = """\
query-id\tcorpus-id\tscore
q3\td2\t1
q1\td3\t1
q1\td1\t2
q1\td2\t0
q4\td1\t0
q3\td2\t1
"""


@pytest.fixture
def layout(tmp_path):
    """A function that writes the three files and gives the qrels' path."""

    def layout(corpus=CORPUS, queries=QUERIES, qrels=QRELS):
        (tmp_path / "corpus.jsonl").write_text(corpus, "utf-8")
        (tmp_path / "queries.jsonl").write_text(queries, "utf-8")
        path = tmp_path / "qrels" / "test.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(qrels, "utf-8")
        return str(path)

    return layout


def test_queries_with_a_relevant_text_and_the_whole_corpus(layout):
    found = read_retrieval(layout())
    assert found.query_ids == ["q1", "q3"]
    assert found.queries == ["how deep?", "what falls?"]
    assert found.corpus_ids == ["d1", "d2", "d3"]
    assert found.corpus == ["Lakes A lake is deep.", "Rain falls.", "The sun."]
    assert found.relevant == [{2: 1, 0: 2}, {1: 1}]
    assert found.num_without_relevant == 1  # q4
    assert len(found) == 2


def test_files_may_be_compressed(layout, tmp_path):
    plain = read_retrieval(layout())
    for file in (*tmp_path.glob("*.jsonl"), tmp_path / "qrels/test.tsv"):
        packed = file.with_name(f"{file.name}.gz")
        packed.write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    path = f"{plain.path}.gz"
    assert is_qrels(path)
    found = read_retrieval(path)
    assert (found.corpus, found.relevant) == (plain.corpus, plain.relevant)


def test_a_path_below_qrels_names_a_qrels_file(tmp_path, monkeypatch):
    assert is_qrels("scifact/qrels/test.tsv")
    assert not is_qrels("scifact/test.tsv")
    assert not is_qrels("scifact/qrels/test.jsonl")
    (tmp_path / "qrels").mkdir()
    monkeypatch.chdir(tmp_path / "qrels")
    assert is_qrels("test.tsv")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"corpus": ""}, "corpus.jsonl: no texts; needs one or more."),
        (
            {"corpus": CORPUS.replace("d3", "d1")},
            "corpus.jsonl:3: a second _id 'd1'; needs one of its own.",
        ),
        (
            {"corpus": CORPUS.replace('"d3"', "3")},
            "corpus.jsonl:3: _id is 3; needs a string.",
        ),
        (
            {"queries": QUERIES.replace('"text": "how', '"t": "how')},
            "queries.jsonl:1: fields ['text'] are missing.",
        ),
        (
            {"qrels": QRELS.replace("q3\td2", "q9\td2", 1)},
            "qrels/test.tsv:2: query-id 'q9' is not in queries.jsonl.",
        ),
        (
            {"qrels": QRELS.replace("d3", "d9")},
            "qrels/test.tsv:3: corpus-id 'd9' is not in corpus.jsonl.",
        ),
        (
            {"qrels": QRELS.replace("d1\t2", "d1\t-1")},
            "qrels/test.tsv:4: score '-1'; needs a whole number from 0.",
        ),
        (
            {"qrels": QRELS + "q1\td1\t1\n"},
            "qrels/test.tsv:8: score 1 of query 'q1' and text 'd1', which "
            "have another score above; needs one.",
        ),
        (
            {"qrels": QRELS.replace("q3\td2\t1", "q3\td2", 1)},
            "qrels/test.tsv:2: 2 fields; the header has 3.",
        ),
        (
            {"qrels": "q1\t0\td1\t1\n"},
            "qrels/test.tsv:1: 'q1\\t0\\td1\\t1'; needs the header query-id, "
            "corpus-id, score, with tabs between.",
        ),
        (
            {"qrels": QRELS.splitlines()[0] + "\nq1\td1\t0\n"},
            "qrels/test.tsv: no score above 0; needs a relevant text.",
        ),
        ({"qrels": ""}, "no score above 0; needs a relevant text."),
    ],
)
def test_bad_input_is_one_line(layout, files, message):
    with pytest.raises(ValueError, match=re.escape(message) + "$") as error:
        read_retrieval(layout(**files))
    assert "\n" not in str(error.value)
