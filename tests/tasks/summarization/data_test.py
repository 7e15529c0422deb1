# SPDX-License-Identifier: Apache-2.0
"""Documents with labelled sentences, sound and broken, and their batches."""

import numpy as np
import pytest

from kbert.data import batching
from kbert.tasks.summarization import data
from kbert.tasks.summarization.data import Documents, read_documents
from kbert.text.tokenizer import Tokenizer


@pytest.fixture
def file(tmp_path):
    def file(content):
        path = tmp_path / "news.jsonl"
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(data)
        return str(path)

    return file


def test_a_summary_is_given_or_the_labelled_sentences(file):
    path = file(
        '{"sentences": ["One.", "", "Drei ü."], "labels": [1, 0, 1]}\n\n'
        '{"id": 7, "labels": [0], "sentences": ["A"], "summary": "B."}\r\n'
    )
    sentences = [["One.", "", "Drei ü."], ["A"]]
    rows = read_documents(path)
    assert rows == Documents(
        path=path,
        lines=[1, 3],
        sentences=sentences,
        labels=[[1, 0, 1], [0]],
        summaries=["One. Drei ü.", "B."],
    )
    assert rows.texts == (sentences,) and len(rows) == 2


BROKEN = [
    ("", "news.jsonl: no documents"),
    ("[1]", r"news.jsonl:2: found \[1\]; needs an object"),
    ("{", "news.jsonl:2: not JSON"),
    (b'{"sentences": ["\xe9"]}', "news.jsonl:2: not UTF-8: byte 0xe9"),
    ("{}", "news.jsonl:2: sentences null; needs a list of strings"),
    ('{"sentences": "a b"}', 'news.jsonl:2: sentences "a b"; needs a list'),
    ('{"sentences": ["a", 1]}', r'news.jsonl:2: sentences \["a", 1\]; needs'),
    ('{"sentences": []}', "news.jsonl:2: no sentence, or only empty ones"),
    ('{"sentences": [" "]}', "news.jsonl:2: no sentence, or only empty ones"),
]
LABELS = [
    ("{}", "news.jsonl:2: labels null; needs a list of 0 and 1"),
    ('{"labels": [1]}', "news.jsonl:2: 1 labels for 2 sentences; needs one"),
    ('{"labels": [1, 2]}', "news.jsonl:2: a label is 2; needs 0 or 1"),
    ('{"labels": [1, true]}', "news.jsonl:2: a label is true; needs 0 or 1"),
    ('{"labels": [1, 0.0]}', "news.jsonl:2: a label is 0.0; needs 0 or 1"),
    (
        '{"labels": [1, 0], "summary": ["a"]}',
        r'news.jsonl:2: summary \["a"\]; needs a string',
    ),
    (
        '{"labels": [1, 0], "summary": "\\ud83d"}',
        r'news.jsonl:2: "\\ud83d": half of a surrogate pair',
    ),
]


@pytest.mark.parametrize(("line", "message"), BROKEN)
def test_broken_files_name_file_and_line(file, line, message):
    line = line if isinstance(line, bytes) else line.encode()
    with pytest.raises(ValueError, match=message):
        read_documents(file(b"\n" + line))


@pytest.mark.parametrize(("line", "message"), LABELS)
def test_broken_labels_name_file_and_line(file, line, message):
    line = line.replace("{", '{"sentences": ["a", "b"], ').replace(", }", "}")
    path = file("\n" + line)
    with pytest.raises(ValueError, match=message):
        read_documents(path)


def test_batches_have_whole_sentences(vocabulary):
    rows = Documents(
        "x",
        [1, 2, 3],
        [["the film", "", "was good bad", "not"], ["very " * 9], ["long"]],
        [[1, 1, 0, 1], [1], [0]],
        ["", "", ""],
    )
    examples = data.examples(
        rows, tokenizer=Tokenizer(vocabulary), max_seq_length=8
    )
    assert examples.lengths.numpy().tolist() == [4, 8, 8, 3]
    assert examples.num_truncated == 1
    ((inputs, labels, weights),) = batching.dataset(
        examples, batch_size=4, seed=None
    )
    assert inputs["token_ids"].numpy().tolist() == [
        [2, 5, 6, 3, 0, 0, 0, 0],
        [2, 7, 8, 9, 3, 2, 10, 3],
        [2, 11, 11, 11, 11, 11, 11, 3],
        [2, 12, 3, 0, 0, 0, 0, 0],
    ]
    assert inputs["sentence_positions"].numpy().tolist() == [
        [0, 0],
        [0, 5],
        [0, 0],
        [0, 0],
    ]
    want = [[1, 0], [0, 1], [1, 0], [0, 0]]
    assert labels["logits"].numpy().tolist() == want
    # The mean over 8 elements is that over 5 sentences.
    np.testing.assert_allclose(
        weights["logits"] * 5 / 8, [[1, 0], [1, 1], [1, 0], [1, 0]]
    )
