# SPDX-License-Identifier: Apache-2.0
"""Tagging through the commands: learnt, scored, predicted and refused."""

import dataclasses
import json

import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.tasks import TaskSpec
from kbert.tasks.rows import DataOptions
from kbert.tasks.summarization.task import Summarizer
from kbert.tasks.tagging.head import labels_of
from kbert.tasks.tagging.task import Tagger

# IOB1; "long" and "longer" begin with one subword. The last is longer than a
# row of 8 tokens.
FILE = """\
-DOCSTART- -X- O

the DT O
film NN I-x
was VBD O
good JJ I-y

longer JJ I-y
film NN I-x
film NN I-x
. . O

the DT O
the DT O
bad JJ I-y
film NN I-x
was VBD O
very RB O
good JJ I-y
longer JJ I-y
. . O
"""


def _spans(answer):
    return [(e["type"], e["text"], e["start"]) for e in answer["entities"]]


def _check_text_files(call, tmp_path, model, path, answer):
    """A text a line, a word a line, and neither."""
    texts = tmp_path / "texts.txt"
    texts.write_text("The film, was good.\n\nthe film\n", "utf-8")
    rows = call("predict", model, f"--input={texts}").splitlines()
    assert len(rows) == 3 and json.loads(rows[1]) == {"entities": []}
    assert _spans(json.loads(rows[0])) == _spans(answer)
    flags = [f"--input={path}", "--aggregation=joined"]
    rows = call("predict", model, *flags).splitlines()
    assert _spans(json.loads(rows[1])) == [
        ("y", "longer", 0),
        ("x", "film film", 7),
    ]
    texts.write_text("the\tO\nfilm\n", "utf-8")
    with pytest.raises(ValueError, match=r"texts\.txt:2: no tab, but other"):
        call("predict", model, f"--input={texts}")


DATA = DataOptions(max_seq_length=8, settings={"stride": 2})


def _read(path, spec=None):
    return Tagger.read(str(path), DATA, spec)


def _spec(path):
    return Tagger.new_spec(_read(path), DATA)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "train.conll"
    path.write_text(FILE, "utf-8")
    return str(path)


@pytest.mark.slow
def test_from_a_file_to_entities(
    call, tmp_path, path, tiny_config, vocabulary, task_of
):
    config = dataclasses.replace(tiny_config, num_hidden_layers=1)
    init = TaskSpec(task="encoder", max_seq_length=16)
    folder.save(
        tmp_path / "init",
        tasks.build(config, init),
        config=config,
        vocabulary=vocabulary,
        spec=init,
    )
    printed = call(
        "finetune",
        "--task=tagging",
        f"--init={tmp_path}/init",
        f"--train={path}",
        f"--output_dir={tmp_path}/out",
        "--max_seq_length=8",
        "--stride=2",
        "--batch_size=4",
        "--epochs=40",
        "--learning_rate=1e-2",
        "--schedule=constant",
        "--dropout=0",
    )
    assert f"{path}: 3 rows, 0 of them truncated" in printed
    spec = json.loads((tmp_path / "out/model/task.json").read_text("utf-8"))
    assert spec["labels"] == ["O", "B-x", "I-x", "B-y", "I-y"]
    assert spec["settings"] == {"stride": 2, "aggregation": "first"}

    model = f"--model={tmp_path}/out/model"
    file = tmp_path / "scores.json"
    call("evaluate", model, f"--input={path}", f"--output={file}")
    scores = json.loads(file.read_text("utf-8"))
    names = ("precision", "recall", "f1")
    perfect = {f"{p}{n}": 1.0 for p in ("", "strict_") for n in names}
    assert {name: scores[name] for name in perfect} == perfect
    predicted = call("predict", model, "--text=The film, was good.")
    answer = json.loads(predicted)
    assert ("x", "film", 4) in _spans(answer)

    _check_text_files(call, tmp_path, model, path, answer)

    # Words as files part them, each with a score.
    rows = _read(path)
    answers = [{"tags": tags} for tags in rows.tags]
    answers[1] = {"tags": ["B-y", "B-x", "O", "O"]}
    task = task_of(_spec(path))
    assert task.row_scores(answers, rows) == [1, 0.75, 1]
    assert task.selection_metric == "f1"
    report = task.class_report(answers, rows)
    assert report["x"] == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "rows": 3,
    }
    assert report["y"]["f1"] == 1 and report["y"]["rows"] == 4
    assert task.labels(rows)[1] == ["B-y", "B-x", "I-x", "O"]


def test_what_is_refused(path, tmp_path, task_of):
    spec = _spec(path)
    assert spec.labels == ("O", "B-x", "I-x", "B-y", "I-y")
    other = tmp_path / "other.conll"
    other.write_text("the O\nfilm B-z\n", "utf-8")
    with pytest.raises(ValueError, match=r"other\.conll:2: tag 'B-z' is not"):
        task_of(spec).examples(_read(other))
    other.write_text("the O\nfilm O\n", "utf-8")
    with pytest.raises(ValueError, match=r"other\.conll: the only tag is 'O'"):
        _spec(other)
    with pytest.raises(ValueError, match="stride is 0; needs 1 <= x"):
        Tagger.new_spec(_read(path), DataOptions(settings={"stride": 0}))


def test_classes_of_words(tmp_path, task_of):
    """A dev file's are those of the model; scores are of words."""
    path = tmp_path / "pos.conll"
    path.write_text("the DET\nfilm NOUN\n\n. PUNCT\nfilm NOUN\n", "utf-8")
    rows, task = _read(path), task_of(_spec(path))
    assert task.spec.labels == ("DET", "NOUN", "PUNCT")
    assert task.selection_metric == "accuracy"
    examples = task.examples(rows)
    assert examples.parts["labels"].to_list() == [[0, 1], [2, 1]]
    answers = [{"tags": ["DET", "DET"]}, {"tags": ["PUNCT", "NOUN"]}]
    assert task.scores(answers, rows) == pytest.approx(
        {"accuracy": 0.75, "macro_f1": (2 / 3 + 2 / 3 + 1) / 3}
    )
    assert task.row_scores(answers, rows) == [0.5, 1]
    report = task.class_report(answers, rows)
    assert report["NOUN"] == {
        **{"precision": 1, "recall": 0.5},
        **{"f1": pytest.approx(2 / 3), "rows": 2},
    }
    path.write_text("the B-x\nfilm O\n", "utf-8")
    with pytest.raises(ValueError, match=r"pos\.conll:1: tag 'B-x' is not one"):
        task.examples(_read(path))


def test_labels_may_be_given_with_their_order(path, tmp_path):
    """Types of entities, some of which train lacks, or classes of words."""

    def spec(path, *labels):
        data = DataOptions(max_seq_length=8, labels=labels)
        return Tagger.new_spec(Tagger.read(str(path), data), data)

    assert spec(path, "y", "z", "x").labels == (
        *("O", "B-y", "I-y", "B-z", "I-z", "B-x", "I-x"),
    )
    with pytest.raises(ValueError, match=r"train\.conll:4: tag 'B-x' is not"):
        spec(path, "y")
    words = tmp_path / "pos.conll"
    words.write_text("the DET\nfilm NOUN\n", "utf-8")
    assert spec(words, "NOUN", "X", "DET").labels == ("NOUN", "X", "DET")
    with pytest.raises(ValueError, match=r"pos\.conll:2: tag 'NOUN' is not"):
        spec(words, "X", "DET")


@pytest.mark.parametrize(
    ("letters", "tags"),
    [
        ("I", "O I-x I-x I-y"),
        ("BIES", "O B-x E-x S-y"),
        ("BMES", "O B-x E-x S-y"),
        ("BI", "O B-x I-x B-y"),
    ],
)
def test_a_model_of_another_scheme_is_scored_by_entities(
    letters, tags, tmp_path, task_of
):
    """The file is IOB2; the second answer lacks the second word's tag."""
    path = tmp_path / "gold.conll"
    path.write_text("the O\ngood B-x\nfilm I-x\nbad B-y\n\n" * 2, "utf-8")
    labels = ("O", *(f"{x}-{name}" for name in "xy" for x in letters))
    spec = TaskSpec(
        task="tagging",
        max_seq_length=8,
        labels=labels,
        settings={"stride": 2},
    )
    rows, tags, task = _read(path, spec), tags.split(), task_of(spec)
    answers = [{"tags": tags}, {"tags": [*tags[:2], "O", tags[3]]}]
    want = [labels.index(tag) for tag in tags]
    examples = task.examples(rows)
    assert examples.parts["labels"].to_list() == [want, want]
    assert task.labels(rows) == [tags, tags]  # as reports show them
    assert task.scores(answers, rows) == pytest.approx(
        dict.fromkeys(
            (
                f"{strict}{name}"
                for strict in ("", "strict_")
                for name in ("precision", "recall", "f1")
            ),
            0.75,
        )
    )
    assert task.row_scores(answers, rows) == [1, 0.75]
    assert list(task.is_right(answers, rows)) == [True, False]
    assert task.class_report(answers, rows)["y"]["f1"] == 1


@pytest.mark.parametrize(
    ("text", "line", "label"),
    [
        ("a O\nb B-nan\n", 2, "nan"),
        ("a O\n\nb I-NaN\nc I-null\n", 3, "NaN"),
        ("a S-None\n", 1, "None"),
        ("a NN\nb NA\n", 2, "NA"),
        ("a nn\nb nan\n", 2, "nan"),
    ],
)
def test_a_missing_tag_is_no_label(text, line, label, tmp_path):
    """Unless --labels names it, or the model has it."""
    path = tmp_path / "a.conll"
    path.write_text(text)
    message = rf"a\.conll:{line}: label '{label}' usually means a missing"
    with pytest.raises(ValueError, match=message):
        Tagger.read(str(path), DataOptions())
    labels = [label, "null", "NN", "nn"]
    data = DataOptions(labels=labels)
    spec = Tagger.new_spec(Tagger.read(str(path), data), data)
    classes = text.split()[1].lower() == "nn"
    want = labels if classes else labels_of(labels)
    assert spec.labels == tuple(want)
    assert _read(path, spec).path == str(path)
    others = dataclasses.replace(spec, labels=("O", "B-x", "I-x"))
    with pytest.raises(ValueError, match=message):
        _read(path, others)


def test_the_tag_scheme_is_an_option(tmp_path):
    path = tmp_path / "stray.conll"
    path.write_text("the O\nfilm B-x\n. O\nlong I-y\n", "utf-8")
    with pytest.raises(ValueError, match=r"stray\.conll:4: tag 'I-y' after"):
        Tagger.read(str(path), DataOptions(tag_scheme="strict"))
    rows = Tagger.read(str(path), DataOptions(tag_scheme="lenient"))
    assert rows.tags == [["O", "B-x", "O", "B-y"]]
    with pytest.raises(ValueError, match="--tag_scheme: not of --task=summa"):
        Summarizer.read(str(path), DataOptions(tag_scheme="lenient"))


def test_settings_of_a_spec_are_changed_by_name():
    spec = TaskSpec(task="tagging", max_seq_length=9, labels=("O", "B-x"))
    changed = spec.with_settings(aggregation="joined")
    assert changed.settings.aggregation == "joined"
    assert spec.with_settings() is spec
    with pytest.raises(ValueError, match="aggregation is 'max'; expected one"):
        spec.with_settings(aggregation="max")
    for task in ("regression", "summarization"):
        spec = TaskSpec(task=task, max_seq_length=9)
        with pytest.raises(ValueError, match=f"aggregation is no .* '{task}'"):
            spec.with_settings(aggregation="joined")
