# SPDX-License-Identifier: Apache-2.0
import csv
import json

from examples import squad_sentences

CONTEXT = "Ann sang. Mr. Lee left.  Bob ate cake? Rain fell."
QAS = [
    {"question": "Who left?", "answers": [{"answer_start": 14}]},
    {"question": "What fell?", "answers": [{"answer_start": 39}]},
    {"question": "Why?", "answers": []},
]


def test_sentences_cover_the_text():
    spans = squad_sentences.sentence_spans(CONTEXT)
    assert spans == [(0, 10), (10, 25), (25, 39), (39, 49)]


def test_the_right_choice_holds_the_answer(tmp_path, capsys):
    paragraphs = [
        {"context": CONTEXT, "qas": QAS},
        {"context": "Too short.", "qas": QAS[:1]},
    ]
    squad = tmp_path / "squad.json"
    squad.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    squad_sentences.main(str(squad), str(tmp_path / "out"))
    with (tmp_path / "out/choices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sentences = ["Ann sang.", "Mr. Lee left.", "Bob ate cake?", "Rain fell."]
    right = {}
    for row in rows:
        choices = [row[f"choice{i}"] for i in range(4)]
        assert sorted(choices) == sorted(sentences)
        right[row["question"]] = choices[int(row["label"])]
    assert right == {"Who left?": "Mr. Lee left.", "What fell?": "Rain fell."}
    lines = (tmp_path / "out/summaries.jsonl").read_text().splitlines()
    expected = {"sentences": sentences, "labels": [0, 1, 0, 1]}
    assert [json.loads(line) for line in lines] == [expected]
    with (tmp_path / "out/candidates.csv").open(newline="") as file:
        lists = list(csv.DictReader(file))
    assert {row["question"]: row["positive"] for row in lists} == right
    for row, other in zip(lists, rows, strict=True):
        texts = [row["positive"], *(row[f"negative{i}"] for i in range(3))]
        assert sorted(texts) == sorted(sentences)
        assert row["question"] == other["question"]
    assert "choices.csv: 2 questions" in capsys.readouterr().out
