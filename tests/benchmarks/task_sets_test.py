# SPDX-License-Identifier: Apache-2.0
"""Published files as kbert's readers take them: here a few rows of each."""

import json
import pathlib

import pytest

from benchmarks import task_sets
from kbert.data import tables


@pytest.fixture
def data(tmp_path):
    """Folders as the sets are published in."""

    def write(name, text, encoding="utf-8"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding)

    phrases = "".join(f"phrase {i} \t{i % 2}\n" for i in range(20_010))
    write("glue/SST-2/train.tsv", "sentence\tlabel\n" + phrases)
    write("glue/CoLA/train.tsv", "gj04\t1\t\tGo.\ngj04\t0\t*\tGoes I.\n")
    questions = [f"NUM:date When, café {i} ?\n" for i in range(19)]
    write("trec/train.txt", "".join([*questions, "A:b Once ?\n"]), "latin-1")
    text = "-DOCSTART- O\n\n" + "\n-DOCSTART- O\n\n".join(
        f"Camp{i} I-LOC\n. O\n\nRain O\n" for i in range(11)
    )
    write("ner/wikigold/train.conll", text)
    articles = [{"title": str(i), "paragraphs": []} for i in range(5)]
    write("squad/dev-v2.0.json", json.dumps({"version": "", "data": articles}))
    return tmp_path / "data"


def _rows(data, path):
    options = data.options
    return tables.read_table(
        path,
        options["text_columns"],
        options["label_column"],
        header=options["header"],
    )


def test_some_phrases_are_drawn(data, tmp_path):
    found = task_sets.sst2(data, tmp_path / "out")
    rows = _rows(found, found.train)
    assert len(rows) == len(set(rows.texts[0])) == 20_000
    assert rows.texts[0][:9] != [f"phrase {i} " for i in range(9)]
    assert {(text.split()[1][-1] in "13579") for text in rows.texts[0]} == {
        True,
        False,
    }
    for text, label in zip(rows.texts[0], rows.labels, strict=True):
        assert int(text.split()[1]) % 2 == int(label)


def test_a_table_without_a_header(data, tmp_path):
    found = task_sets.cola(data, tmp_path / "out")
    rows = _rows(found, found.train)
    assert (rows.texts[0], rows.labels) == (["Go.", "Goes I."], ["1", "0"])


def test_classes_and_questions_are_parted(data, tmp_path):
    found = task_sets.trec(data, tmp_path / "out")
    train, dev = (_rows(found, path) for path in (found.train, found.dev))
    assert (len(train), len(dev)) == (18, 2)
    assert dev.texts[0] == ["When, café 0 ?", "When, café 10 ?"]
    assert set(dev.labels) == {"NUM:date"}
    assert set(train.labels) == {"NUM:date", "A:b"}


def test_whole_documents_are_validation_data(data, tmp_path):
    found = task_sets.wikigold(data, tmp_path / "out")
    texts = [pathlib.Path(x).read_text() for x in (found.train, found.dev)]
    words = [[x.split()[0] for x in t.split("\n") if x] for t in texts]
    validation = {"Camp0", "Camp10"}
    assert set(words[1]) == validation | {".", "Rain"}
    assert not set(words[0]) & validation and len(set(words[0])) == 9 + 2
    # A sentence ends where its document does.
    assert texts[1].endswith("Rain O\n\n") and ". O\n\nRain O\n\nC" in texts[1]


def test_articles_are_halved(data, tmp_path):
    found = task_sets.squad2(data, tmp_path / "out")
    titles = [
        [x["title"] for x in json.loads(pathlib.Path(p).read_text())["data"]]
        for p in (found.train, found.dev)
    ]
    assert titles == [["0", "2", "4"], ["1", "3"]]
