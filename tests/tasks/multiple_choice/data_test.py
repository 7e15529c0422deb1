# SPDX-License-Identifier: Apache-2.0
"""SWAG's columns to prompts, choices and batches; broken tables."""

import json

import numpy as np
import pytest

from kbert.data import batching
from kbert.data.labelled_texts import choice_examples
from kbert.tasks.multiple_choice.data import Choices, read_choices
from kbert.text.tokenizer import Tokenizer

# As in SWAG's files: an index without a name, columns of no use.
SWAG = """,video-id,sent1,sent2,gold-source,ending0,ending1,label
0,v1,The film.,The film,gold,was good.,"was ""bad"", not long.",1
1,v2,Not bad.,,gold,"good
film",bad,0
"""
ENDINGS = ["ending0", "ending1"]


@pytest.fixture
def table(tmp_path):
    def table(content, name="swag.csv"):
        path = tmp_path / name
        path.write_text(content, "utf-8")
        return str(path)

    return table


def test_the_second_text_begins_each_ending(table):
    path = table(SWAG)
    prompts = ["The film.", "Not bad."]
    assert read_choices(path, ["sent1", "sent2"], ENDINGS, "label") == Choices(
        path=path,
        lines=[2, 3],
        prompts=prompts,
        choices=[
            ["The film was good.", 'The film was "bad", not long.'],
            ["good\nfilm", "bad"],
        ],
        labels=[1, 0],
    )
    rows = read_choices(path, ["sent1"], ENDINGS[::-1], None)
    assert rows.choices[1] == ["bad", "good\nfilm"]
    assert rows.labels == []
    assert rows.texts == (prompts, rows.choices) and len(rows) == 2


def test_json_lines_have_numbers_for_labels(table):
    path = table('{"t": "x", "a": "b", "c": "d", "l": 1}\n', "x.jsonl")
    rows = read_choices(path, ["t"], ["c", "a"], "l")
    assert rows == Choices(path, [1], ["x"], [["d", "b"]], [1])


def test_a_column_of_lists(table):
    row = '{"t": "x", "b": "the", "c": ["good", "bad", ""], "l": 2}\n'
    path = table(row, "x.jsonl")
    rows = read_choices(path, ["t", "b"], ["c"], "l")
    found = ["the good", "the bad", "the"]
    assert rows == Choices(path, [1], ["x"], [found], [2])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ('"c": ["a"]', r"x.jsonl:2: 1 choices; needs 2, as in the first row"),
        ('"c": ["a", "b", "c"]', "x.jsonl:2: 3 choices; needs 2, as in the"),
        ('"c": "a"', "x.jsonl:2: 'c' is 'a'; needs a list of strings, or a"),
        ('"c": ["a", 1]', r"x.jsonl:2: 'c' is \[\"a\", 1\]; needs a string"),
        (r'"c": ["a", "\ud800"]', "x.jsonl:2: .*: half of a surrogate pair"),
        ('"t": ["x"], "c": ["a", "b"]', "x.jsonl:2: 't' is .*; needs a str"),
        ('"l": 2, "c": ["a", "b"]', "x.jsonl:2: label '2'; needs .*, 0 to 1"),
    ],
)
def test_lists_that_are_not_as_those_before(table, second, message):
    rows = ['"c": ["good", "bad"]', second]
    same = {"t": "x", "l": 0}
    lines = [
        json.dumps({**same, **json.loads(f"{{{row}}}")}) + "\n" for row in rows
    ]
    with pytest.raises(ValueError, match=message):
        read_choices(table("".join(lines), "x.jsonl"), ["t"], ["c"], "l")


def test_a_single_choice(table):
    path = table('{"t": "x", "c": ["a"]}\n', "x.jsonl")
    with pytest.raises(ValueError, match="x.jsonl:1: 1 choices; needs 2 or"):
        read_choices(path, ["t"], ["c"], None)
    with pytest.raises(ValueError, match="swag.csv:2: 'sent1' is 'The film."):
        read_choices(table(SWAG), ["sent2"], ["sent1"], None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((",1\n1", ",2\n1"), r"swag.csv:2: label '2'; needs .*, 0 to 1\."),
        (("bad,0", "bad,-1"), "swag.csv:3: label '-1'; needs the index of"),
        (("bad,0", "bad,gold"), "swag.csv:3: label 'gold'; needs the index"),
        (("bad,0", "bad,"), "swag.csv:3: label ''; needs the i"),
        (("ending1,", "ending2,"), "swag.csv:1: no column 'ending1'"),
        (("bad,0", "bad"), "swag.csv:3: 7 fields; the header has 8"),
    ],
)
def test_broken_tables_name_file_and_line(table, change, message):
    assert change[0] in SWAG
    with pytest.raises(ValueError, match=message):
        read_choices(table(SWAG.replace(*change)), ["sent1"], ENDINGS, "label")


def test_batches_are_padded_to_their_longest_choice(vocabulary):
    examples = choice_examples(
        ["the film", "was", "good bad not very long the film"],
        [["good", "bad not"], ["", "film"], ["bad bad bad bad", "good"]],
        np.array([1, 0, 1], np.int32),
        output="logits",
        tokenizer=Tokenizer(vocabulary),
        max_seq_length=9,
    )
    assert examples.lengths.numpy().tolist() == [7, 5, 9]
    assert examples.num_truncated == 1
    first, second = batching.dataset(examples, batch_size=2, seed=None)
    inputs, labels = first
    assert inputs["token_ids"].numpy().tolist() == [
        [[2, 5, 6, 3, 8, 3, 0], [2, 5, 6, 3, 9, 10, 3]],
        [[2, 7, 3, 3, 0, 0, 0], [2, 7, 3, 6, 3, 0, 0]],
    ]
    assert inputs["segment_ids"].numpy().tolist() == [
        [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1, 1]],
        [[0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0]],
    ]
    assert inputs["padding_mask"].numpy().sum(-1).tolist() == [[6, 7], [4, 5]]
    assert labels["logits"].numpy().tolist() == [1, 0]
    inputs, labels = second
    assert inputs["token_ids"].numpy().tolist() == [  # each cut by itself
        [[2, 8, 9, 10, 3, 9, 9, 9, 3], [2, 8, 9, 10, 11, 12, 3, 8, 3]]
    ]
    assert labels["logits"].numpy().tolist() == [1]
    assert inputs["token_ids"].dtype == labels["logits"].dtype == "int32"
