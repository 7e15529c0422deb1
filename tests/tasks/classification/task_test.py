# SPDX-License-Identifier: Apache-2.0
"""Classes and numbers of texts, from a table to scored answers."""

import json

import numpy as np
import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.runs.scoring import tokenized
from kbert.tasks import TaskSpec
from kbert.tasks.classification.task import Classifier
from kbert.tasks.regression.task import Regressor
from kbert.tasks.rows import DataOptions

# Texts on films with several labels; the last has none.
SEVERAL = [
    ("good film", "good"),
    ("the film was bad", "bad"),
    ("very very long", "long"),
    ("good but long", "good|long"),
    ("bad . long .", "bad|long"),
    ("the film", ""),
]
NUMBERS = [
    ("good", "very good", "4.5"),
    ("good", "bad", "1"),
    ("long", "the film was longer", "3.25"),
    ("not bad", "good .", "4"),
]


@pytest.fixture
def init(tmp_path, tiny_config, vocabulary):
    """A folder with an encoder to start from."""
    spec = TaskSpec(task="encoder", max_seq_length=16)
    model = tasks.build(tiny_config, spec)
    path = tmp_path / "init"
    parts = {"config": tiny_config, "vocabulary": vocabulary, "spec": spec}
    folder.save(path, model, **parts)
    return path


@pytest.fixture
def learn(tmp_path, init, call):
    """Fine-tunes on rows until they are known, scores and answers them."""

    def learn(rows, columns, *flags, epochs=40):
        path = tmp_path / "rows.tsv"
        names = [*columns.split(","), "label"]
        lines = ["\t".join(row) for row in [names, *rows]]
        path.write_text("\n".join(lines) + "\n", "utf-8")
        reading = [f"--text_columns={columns}"]
        call(
            "finetune",
            f"--init={init}",
            f"--train={path}",
            f"--output_dir={tmp_path}/out",
            *("--dropout=0", "--learning_rate=1e-2", "--batch_size=4"),
            *(f"--epochs={epochs}", "--max_seq_length=12"),
            *reading,
            *flags,
        )
        model = f"--model={tmp_path}/out/model"
        scores = f"--output={tmp_path}/scores.json"
        call("evaluate", model, f"--input={path}", scores, *reading)
        answers = call("predict", model, f"--input={path}", *reading)
        return (
            json.loads((tmp_path / "scores.json").read_text("utf-8")),
            [json.loads(line) for line in answers.splitlines()],
        )

    return learn


@pytest.mark.slow
def test_several_labels_a_row_are_learnt(learn, tmp_path):
    flags = ["--multi_label", "--threshold=0.6"]
    scores, answers = learn(SEVERAL, "text", *flags, epochs=120)
    assert scores.pop("loss") < 0.3
    assert scores == {"accuracy": 1, "f1": 1, "macro_f1": 1}
    assert ["|".join(answer["labels"]) for answer in answers] == [
        label for _, label in SEVERAL
    ]
    for answer in answers:
        assert list(answer["probabilities"]) == ["bad", "good", "long"]
        for label, probability in answer["probabilities"].items():
            assert (label in answer["labels"]) == (probability >= 0.6)
    task = json.loads((tmp_path / "out/model/task.json").read_text("utf-8"))
    assert task["settings"] == {"multi_label": True, "threshold": 0.6}


@pytest.mark.slow
def test_numbers_are_learnt(learn):
    scores, answers = learn(NUMBERS, "a,b", "--task=regression", epochs=150)
    assert scores["pearson"] > 0.999 and scores["spearman"] == 1
    loss = pytest.approx(scores["squared_error"], rel=1e-3)
    assert scores["value_loss"] == loss
    got = [answer["value"] for answer in answers]
    np.testing.assert_allclose(got, [4.5, 1, 3.25, 4], atol=0.1)


def test_sts_b_is_read_as_it_is(tmp_path, task_of):
    """GLUE's columns, with a quote in a sentence."""
    path = tmp_path / "train.tsv"
    path.write_text(
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\t"
        "sentence1\tsentence2\tscore\n"
        '0\tnews\tx\t2012\t1\tnone\tnone\t"A film.\tA film\t4.750\n'
        "1\tnews\tx\t2012\t4\tnone\tnone\tA plane.\tA film.\t0.000\n",
        "utf-8",
    )
    data = DataOptions(
        text_columns=["sentence1", "sentence2"], label_column="score"
    )
    rows = Regressor.read(str(path), data)
    assert rows.texts == (['"A film.', "A plane."], ["A film", "A film."])
    task = task_of(Regressor.new_spec(rows, data))
    assert task.labels(rows) == [4.75, 0]
    assert task.spec.num_texts == 2


def _rows(tmp_path, given, **options):
    path = tmp_path / "rows.tsv"
    lines = [f"film\t{label}" for label in given]
    path.write_text("text\tlabel\n" + "\n".join(lines) + "\n", "utf-8")
    task = options.pop("task", "classification")
    made = tasks.task_class(task)
    data = DataOptions(text_columns=["text"], **options)
    rows = made.read(str(path), data)
    return rows, made.new_spec(rows, data), data


@pytest.fixture
def weights(tmp_path, task_of):
    """A function of class weights: those of rows a, a, a, b, a and b."""

    def weights(given):
        rows, spec, data = _rows(tmp_path, "aaabab", class_weights=given)
        examples = tokenized(task_of(spec), rows, data)
        return examples.parts["weights"].numpy()

    return weights


def test_class_weights_have_a_mean_of_one(weights):
    a, b = 6 / (2 * 4), 6 / (2 * 2)  # rows / (classes * rows of the class)
    want = [a, a, a, b, a, b]
    np.testing.assert_allclose(weights("balanced"), want, rtol=1e-6)
    want = [0.5, 0.5, 0.5, 2, 0.5, 2]
    np.testing.assert_allclose(weights({"a": 1, "b": 4}), want, rtol=1e-6)


@pytest.mark.slow
def test_class_weights_shift_what_is_answered(learn):
    """One text, two of three times "a"; a "b" counts six times as much."""
    rows = [("the film", "a"), ("the film", "a"), ("the film", "b")]
    flags = ["--class_weights=a:1,b:6", "--batch_size=3"]
    _, answers = learn(rows, "text", *flags)
    probability = answers[0]["probabilities"]["b"]
    assert probability == pytest.approx(6 / 8, abs=0.02)


BROKEN = [
    ("ab", {"class_weights": {"a": 1.0}}, r"--class_weights: .* \['a'\]; n"),
    ("aa", {}, "rows.tsv: the only label is 'a'; needs two or more"),
    (
        ["a|b", "b|a"],
        {"settings": {"multi_label": True}},
        r"rows.tsv: all rows have the labels \['a', 'b'\]; needs rows that",
    ),
    (["3", "3.0"], {"task": "regression"}, "rows.tsv: the only label is 3; n"),
    (["1", "x"], {"task": "regression"}, "rows.tsv:3: label 'x'; needs a num"),
    (["nan"], {"task": "regression"}, "rows.tsv:2: label 'nan'; needs a num"),
    (["a", "NA"], {}, "rows.tsv:3: label 'NA' usually means a missing"),
    (
        ["a", "b|nan"],
        {"settings": {"multi_label": True}},
        "rows.tsv:3: label 'nan' usually means a missing",
    ),
    (["a", "NA"], {"task": "regression"}, "rows.tsv:2: label 'a'; needs a n"),
    ("ab", {"labels": ["a", "c"]}, r"rows.tsv:3: label 'b' is not one of \['a"),
    ("ab", {"labels": ["a", "b", "a"]}, "^--labels=a,b,a: needs names that d"),
    ("ab", {"labels": []}, "^--labels=: needs names that differ"),
    ("ab", {"task": "regression", "labels": ["a"]}, "--labels: not of --task"),
    ("ab", {"settings": {"threshold": 0.5}}, "threshold is 0.5; needs none"),
    ("ab", {"task": "regression", "class_weights": "balanced"}, "--class_we"),
]


@pytest.mark.parametrize(("labels", "options", "message"), BROKEN)
def test_what_does_not_fit_is_named(
    tmp_path, task_of, labels, options, message
):
    with pytest.raises(ValueError, match=message):
        rows, spec, data = _rows(tmp_path, labels, **options)
        tokenized(task_of(spec), rows, data)


def test_labels_may_be_given_with_their_order(tmp_path, task_of):
    """So that rows to score may have some that train lacks."""
    labels = ["c", "NA", "b"]
    rows, spec, data = _rows(tmp_path, ["b", "NA", "b"], labels=labels)
    assert spec.labels == ("c", "NA", "b")
    parts = task_of(spec).examples(rows).parts
    assert parts["labels"].numpy().tolist() == [2, 1, 2]
    (tmp_path / "dev.tsv").write_text("text\tlabel\nfilm\tc\nfilm\tNA\n")
    dev = Classifier.read(str(tmp_path / "dev.tsv"), data, spec)
    parts = task_of(spec).examples(dev).parts
    assert parts["labels"].numpy().tolist() == [0, 1]
    # A model that has such a label is scored with it.
    data = DataOptions()
    assert len(Classifier.read(str(tmp_path / "dev.tsv"), data, spec)) == 2


def test_blanks_around_the_labels_of_a_row_are_none(tmp_path, task_of):
    settings = {"multi_label": True}
    given = ["good | long", " good|bad ", " | ", ""]
    rows, spec, _ = _rows(tmp_path, given, settings=settings)
    assert spec.labels == ("bad", "good", "long")
    parts = task_of(spec).examples(rows).parts
    assert parts["labels"].numpy().tolist() == [
        *([0, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0])
    ]


@pytest.mark.slow
def test_a_model_keeps_the_columns_it_was_trained_on(
    tmp_path, tiny_config, vocabulary, call
):
    """They are what commands read where no flag names others."""
    path = tmp_path / "rows.csv"
    path.write_text("a,b,class\nthe film,good,x\nfilm,bad,y\n")
    data = DataOptions(
        text_columns=["b", "a"], label_column="class", max_seq_length=8
    )
    spec = Classifier.new_spec(Classifier.read(str(path), data), data)
    model = tasks.build(tiny_config, spec)
    parts = {"config": tiny_config, "vocabulary": vocabulary, "spec": spec}
    folder.save(tmp_path / "model", model, **parts)
    assert folder.load(tmp_path / "model").spec == spec
    flags = [f"--model={tmp_path}/model", f"--input={path}"]
    columns = "--text_columns=b,a"
    assert call("predict", *flags) == call("predict", *flags, columns)
    assert call("evaluate", *flags) == call(
        "evaluate", *flags, columns, "--label_column=class"
    )
    other = "--text_columns=a,b"
    assert call("predict", *flags) != call("predict", *flags, other)
    path.write_text("a,class\nthe film,x\n")
    with pytest.raises(ValueError, match=r"no column 'b'; .*--text_columns"):
        call("predict", *flags)


def test_a_flag_of_another_task_is_named(call, tmp_path):
    flags = ["--task=regression", "--train=x", "--init=x", "--output_dir=x"]
    with pytest.raises(ValueError, match="--multi_label: not of --task=regr"):
        call("finetune", *flags, "--multi_label")
    with pytest.raises(ValueError, match="--class_weights=a:x: needs balance"):
        call("finetune", *flags, "--class_weights=a:x")
    flags[0] = "--task=classification"
    with pytest.raises(ValueError, match="--threshold is 0.4; needs none wi"):
        call("finetune", *flags, "--threshold=0.4")
