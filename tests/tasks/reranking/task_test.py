# SPDX-License-Identifier: Apache-2.0
"""Rerankers through the class and the commands: read, learnt, scored."""

import dataclasses
import json
import re

import numpy as np
import pytest

import kbert
from kbert import tasks
from kbert.checkpoints import folder
from kbert.data import batching
from kbert.tasks import TaskSpec, inputs
from kbert.tasks.reranking.data import Candidates
from kbert.tasks.rows import DataOptions

Reranker = kbert.Reranker

PAIRS = """query\ttext\tlabel
good\tthe film was good\t1
good\tnot bad\t0
bad\tbad film\t0.75
bad\tthe film was long\t0
"""
LISTS = """query,positive,negative,other
good,the film was good,not bad,very long
bad,bad film,the film was good,long
"""
TEACHER = """query,positive,negative,label
good,the film was good,not bad,2.5
bad,bad film,the film was good,-1
"""


@pytest.fixture
def read(tmp_path):
    """A function of a file's content: its rows, or rows and spec."""

    def read(content, columns, loss=None, spec=None, **options):
        name = "a.tsv" if "\t" in content else "a.csv"
        (tmp_path / name).write_text(content, "utf-8")
        settings = {"loss": loss} if loss else {}
        data = DataOptions(
            text_columns=columns,
            settings=settings,
            max_seq_length=20,
            **options,
        )
        rows = Reranker.read(str(tmp_path / name), data, spec)
        return rows if spec else (rows, Reranker.new_spec(rows, data))

    return read


def test_pairs_with_labels(read):
    rows, spec = read(PAIRS, ["query", "text"])
    assert dataclasses.replace(rows, path="") == Candidates(
        "",
        [2, 3, 4, 5],
        ["good", "good", "bad", "bad"],
        [["the film was good"], ["not bad"], ["bad film"]]
        + [["the film was long"]],
        [[1], [0], [0.75], [0]],
    )
    assert spec.text_columns == ("query", "text")
    assert (spec.settings.loss, spec.settings.activation) == (
        "binary_crossentropy",
        "sigmoid",
    )
    assert Reranker.label_counts(rows, DataOptions()) == {
        "1": 1,
        "0": 2,
        "0.75": 1,
    }


@pytest.mark.parametrize("loss", ["binary_crossentropy", "list"])
def test_a_positive_and_negatives(read, loss):
    columns = ["query", "positive", "negative", "other"]
    rows, _ = read(LISTS, columns, loss)
    assert rows.candidates[1] == ["bad film", "the film was good", "long"]
    assert rows.labels == [[1, 0, 0]] * 2
    assert rows.margins is None
    assert Reranker.label_counts(rows, DataOptions()) == {}


def test_the_margins_of_a_teacher(read):
    columns = ["query", "positive", "negative"]
    rows, _ = read(TEACHER, columns, "margin_mse")
    assert rows.margins == [2.5, -1]
    assert rows.labels == [[1, 0]] * 2


@pytest.mark.parametrize(
    ("content", "count", "loss", "want"),
    [
        (PAIRS, 2, "binary_crossentropy", [[1], [0], [0.75], [0]]),
        (LISTS, 4, "list", [[1, 0, 0]] * 2),
        (TEACHER, 3, "margin_mse", [[2.5], [-1]]),
    ],
)
def test_labels_in_a_batch(read, content, count, loss, want, task_of):
    header = re.split("[\t,]", content.splitlines()[0])
    rows, spec = read(content, header[:count], loss)
    batches = batching.dataset(
        task_of(spec).examples(rows), batch_size=4, seed=None
    )
    ((inputs, labels),) = batches
    np.testing.assert_array_equal(labels["logits"], np.float32(want))
    sizes = len(rows), len(rows.candidates[0])
    assert inputs["token_ids"].shape[:2] == sizes


def test_a_model_of_lists_is_scored_on_pairs_too(read, task_of):
    columns = ["query", "positive", "negative", "other"]
    _, spec = read(LISTS, columns, "list")
    task = task_of(spec)
    assert task.selection_metric == "ndcg@10"
    pairs = read(PAIRS, ["query", "text"], spec=spec)
    found = [{"scores": [x], "order": [0]} for x in (0.1, 0.2, 0.9, 0.6)]
    got = task.scores(found, pairs)
    assert got["accuracy"] == 0.5
    assert got["mrr@10"] == (1 / 2 + 1) / 2


@pytest.mark.parametrize(
    ("task", "given", "want"),
    [
        ("reranking", {}, "none"),
        ("reranking", {"activation": "sigmoid"}, "sigmoid"),
        ("regression", {}, "sigmoid"),
    ],
)
def test_the_activation_of_the_initial_model_stays(task, given, want):
    settings = {"activation": "none"} if task == "reranking" else None
    initial = TaskSpec(task=task, max_seq_length=9, settings=settings)
    spec = TaskSpec(task="reranking", max_seq_length=9, settings=given)
    found = Reranker.spec_from(spec, initial, DataOptions(settings=given))
    assert found.settings.activation == want


@pytest.mark.parametrize(
    ("content", "columns", "loss", "message"),
    [
        (PAIRS, ["text"], None, "--text_columns=text: needs 2 column names"),
        (PAIRS.replace("0.75", "2"), ["query", "text"], None,
         "a.tsv:4: label 2; needs a number from 0 to 1."),
        (PAIRS.replace("0.75", "yes"), ["query", "text"], None,
         "a.tsv:4: label 'yes'; needs a number"),
        (PAIRS.replace("0.75", "0").replace("\t1", "\t0"), ["query", "text"],
         None, "a.tsv: the only label is 0; needs labels that differ."),
        (PAIRS, ["query", "text"], "list",
         "a.tsv: 2 texts a row; loss=list needs a query, a positive and neg"),
        (PAIRS, ["query", "text"], "margin_mse", "loss=margin_mse needs a qu"),
        (LISTS.replace("bad film,", " ,"), ["query", "positive", "negative"],
         "list", "a.csv:3: a positive or negative is empty; needs a text."),
        (LISTS, ["query", "positive", "negative", "other"], "margin_mse",
         "--text_columns: 4 texts; loss=margin_mse needs a query, a positive"),
        (LISTS, ["query", "positive", "negative"], "margin_mse",
         "a.csv:1: no column 'label'"),
    ],
)  # fmt: skip
def test_bad_rows_are_one_line(read, content, columns, loss, message):
    with pytest.raises(ValueError, match=message) as error:
        read(content, columns, loss)
    assert "\n" not in str(error.value)


def test_a_qrels_file_needs_a_search():
    with pytest.raises(ValueError, match="^a/qrels/test.tsv: a qrels file is"):
        Reranker.read("a/qrels/test.tsv", DataOptions())


def test_labels_that_lists_have_not(read):
    with pytest.raises(ValueError, match="--label_column=other: a positive an"):
        read(
            LISTS,
            ["query", "positive", "negative"],
            "list",
            label_column="other",
        )


@pytest.mark.parametrize(
    ("x", "y", "loss", "message"),
    [
        (["a"], [1], None, "x: needs a tuple"),
        ((["a"], ["b"]), None, None, "y is missing; needs a label for each"),
        ((["a"], ["b"]), [2], None, "Row 1: label 2; needs a number from 0"),
        ((["a"], ["b"], ["c"]), [1], None, "y is given; a positive and its"),
        ((["a"], ["b"], [""]), None, "list", "Row 1: a positive or negative"),
        ((["a"], ["b"], ["c"]), None, "margin_mse", "y is missing; needs a l"),
    ],
)
def test_wrong_arguments_of_fit(x, y, loss, message, task_of):
    settings = {"loss": loss} if loss else None
    task = task_of(
        TaskSpec(task="reranking", max_seq_length=9, settings=settings)
    )
    with pytest.raises(ValueError, match=message):
        task.fit(x, y)


def test_rows_without_labels_are_split_too():
    columns = [[f"{name} {i}" for i in range(20)] for name in "qpn"]
    train, dev = inputs.split(tuple(columns), None, None, 0.4)
    assert train[1] is None and dev[1] is None
    for queries, *texts in (train[0], dev[0]):
        assert 0 < len(queries) < 20
        for column, name in zip(texts, "pn", strict=True):
            assert [x.replace(name, "q") for x in column] == queries
    assert sorted(train[0][0] + dev[0][0]) == sorted(columns[0])


def test_rows_are_scored_by_their_error_or_rank(read, task_of):
    pairs, spec = read(PAIRS, ["query", "text"])
    found = [{"scores": [x], "order": [0]} for x in (0.9, 0.6, 0.5, 0.0)]
    task = task_of(spec)
    assert task.row_scores(found, pairs) == pytest.approx([0.9, 0.4, 0.75, 1])
    assert task.is_right(found, pairs) == [True, False, True, True]
    assert task.labels(pairs) == [1, 0, 0.75, 0]
    logits = task_of(spec.with_settings(activation="none"))
    found = [{"scores": [x], "order": [0]} for x in (2.0, 0.1, -0.1, -1.0)]
    assert logits.row_scores(found, pairs)[0] == pytest.approx(0.8808, abs=1e-4)
    assert logits.is_right(found, pairs) == [True, False, False, True]
    rows, spec = read(LISTS, ["query", "positive", "negative", "other"], "list")
    found = [{"scores": x} for x in ([0.9, 0.1, 0.2], [0.5, 0.6, 0.5])]
    task = task_of(spec)
    assert task.row_scores(found, rows) == [1, 1 / 3]
    assert list(task.is_right(found, rows)) == [True, False]
    assert task.labels(rows) == [0, 0]


@pytest.fixture
def init(tiny_config, vocabulary, tmp_path):
    config = dataclasses.replace(
        tiny_config, num_hidden_layers=1, initializer_range=0.2
    )
    spec = TaskSpec(task="encoder", max_seq_length=24)
    folder.save(
        tmp_path / "init",
        tasks.build(config, spec),
        config=config,
        vocabulary=vocabulary,
        spec=spec,
    )
    return tmp_path / "init"


def test_one_query_with_its_texts(init):
    model = Reranker.from_pretrained(init)
    texts = ["good", "the film", "bad"]
    found = model.predict("was bad", texts)
    assert found == model.predict((["was bad"], [texts]))[0]
    assert found["order"] == np.argsort(-np.array(found["scores"])).tolist()
    assert model.predict("was bad", np.array(texts)) == found
    with pytest.raises(ValueError, match="Got 'good'; needs a list"):
        model.predict("was bad", "good")


@pytest.mark.slow
def test_the_list_loss_is_learnt_in_python(init):
    model = Reranker.from_pretrained(init, loss="list", dropout=0)
    x = (["good", "bad"], ["good film", "bad film"], ["bad film", "good film"])
    model.compile(learning_rate=1e-2)
    model.fit(x, epochs=60, batch_size=2, verbose=0, validation_data=(x, None))
    scores = model.evaluate(x)
    assert scores["mrr@10"] == 1 and scores["loss"] < 0.1


@pytest.mark.slow
def test_lists_are_learnt_by_heart_and_pairs_are_scored(call, init, tmp_path):
    (tmp_path / "train.csv").write_text(LISTS, "utf-8")
    call(
        *("finetune", "--task=reranking", f"--init={init}", "--loss=list"),
        *(f"--train={tmp_path}/train.csv", f"--dev={tmp_path}/train.csv"),
        "--text_columns=query,positive,negative,other",
        f"--output_dir={tmp_path}/out",
        *("--max_seq_length=16", "--batch_size=2", "--epochs=60"),
        *("--learning_rate=1e-2", "--schedule=constant", "--dropout=0"),
    )
    model = tmp_path / "out/model"
    evaluation = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert evaluation["metric"] == "ndcg@10" and evaluation["mrr@10"] == 1
    (tmp_path / "pairs.tsv").write_text(PAIRS, "utf-8")
    pairs = (f"--model={model}", f"--input={tmp_path}/pairs.tsv")
    printed = call("evaluate", *pairs, "--text_columns=query,text")
    assert "mrr@10: " in printed and "average precision: " in printed
    printed = call("predict", *pairs, "--text_columns=query,text")
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["order"] for row in rows] == [[0]] * 4
    lists = tmp_path / "lists.jsonl"
    texts = ["not bad", "the film was good", "very long"]
    lists.write_text(json.dumps({"query": "good", "texts": texts}) + "\n")
    printed = call("predict", f"--model={model}", f"--input={lists}")
    assert json.loads(printed)["order"][0] == 1
