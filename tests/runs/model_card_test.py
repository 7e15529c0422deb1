# SPDX-License-Identifier: Apache-2.0
"""MODEL_CARD.md: what the Hub reads, and nothing of whose machine it was."""

import json
import re
import types

import pytest

from kbert import tasks
from kbert.runs import model_card
from tests.serving.conftest import SPECS

# The Hub's, huggingface.js/packages/tasks/src/pipelines.ts.
PIPELINES = {
    "classification": "text-classification",
    "regression": "text-classification",
    "next_sentence": "text-classification",
    "tagging": "token-classification",
    "question_answering": "question-answering",
    "multiple_choice": "multiple-choice",
    "reranking": "text-ranking",
    "summarization": "summarization",
    "masked_lm": "fill-mask",
    "pretraining": "fill-mask",
    "encoder": "feature-extraction",
    "embedding": "sentence-similarity",
}


@pytest.fixture
def loaded(tiny_config, vocabulary):
    """A function of a name of `SPECS`: what a model's folder holds."""

    def loaded(task="classification", **fields):
        return types.SimpleNamespace(
            model=types.SimpleNamespace(count_params=lambda: 12),
            config=tiny_config,
            vocabulary=vocabulary,
            spec=SPECS[task],
            **{"licences": {}, **fields},
        )

    return loaded


def _front_matter(card):
    yaml = pytest.importorskip("yaml")
    head, matter, _ = card.split("---\n", 2)
    assert head == ""
    return yaml.safe_load(matter)


def test_the_hub_finds_it(loaded, tmp_path):
    card = model_card.markdown(
        tmp_path, loaded(), "mit", language=["no", "en"], datasets=["a: b"]
    )
    found = _front_matter(card)
    assert found == {
        "pipeline_tag": "text-classification",
        "license": "mit",
        "language": ["no", "en"],
        "datasets": ["a: b"],
        "library_name": "kbert",
    }


def test_every_task_has_its_pipeline(loaded, tmp_path):
    assert set(PIPELINES) == set(tasks.TASKS)
    found = {}
    for name, spec in SPECS.items():
        card = model_card.markdown(tmp_path, loaded(name), None)
        found[spec.task] = _front_matter(card)["pipeline_tag"]
    assert found == PIPELINES


@pytest.mark.parametrize(
    ("licences", "want"),
    [
        ({}, {"license": "unknown"}),
        (
            {"LICENSE: #1": b"", "NOTICE": b""},
            {
                "license": "other",
                "license_name": "LICENSE: #1, NOTICE",
                "license_link": "LICENSE: #1",
            },
        ),
    ],
)
def test_licences(licences, want, loaded, tmp_path):
    card = model_card.markdown(tmp_path, loaded(licences=licences), None)
    found = _front_matter(card)
    assert "language" not in found and "datasets" not in found
    assert {k: v for k, v in found.items() if k.startswith("license")} == want


@pytest.mark.parametrize(
    "folder",
    [
        *("/home/jane/", "~jane/", "../jane/", "./jane/", "jane/data/"),
        *("C:\\Users\\jane\\", "gs://jane/", "\\\\jane\\share\\"),
    ],
)
def test_files_have_their_names_alone(folder, loaded, tmp_path):
    run = tmp_path / "jane" / "films"
    (run / "model").mkdir(parents=True)
    flags = [
        *(f"--train={folder}train.tsv", f"--dev={folder}a.tsv,{folder}b.tsv"),
        *(f"--init={folder}minilm/", f"--output_dir={folder}out", "--noxla"),
        *("--header=a/b,c", "--learning_rate=0.001"),
    ]
    (run / "flags.txt").write_text("\n".join(flags) + "\n")
    card = model_card.markdown(run / "model", loaded(), None)
    assert "jane" not in card
    assert re.search(r"^\| train \| +train\.tsv \|$", card, re.M)
    assert re.search(r"^\| init +\| +minilm \|$", card, re.M)
    shown = card[card.index("```\n") + 4 :].partition("\n```")[0].splitlines()
    assert shown == [
        *("--train=train.tsv", "--dev=a.tsv,b.tsv", "--init=minilm"),
        *("--output_dir=out", "--noxla", "--header=a/b,c"),
        "--learning_rate=0.001",
    ]


def test_names_and_labels_are_escaped(loaded, tmp_path):
    run = tmp_path / "<b>films*"
    (run / "model").mkdir(parents=True)
    (run / "report").mkdir()
    (run / "flags.txt").write_text("--train=<i>.tsv\n--header=```\n")
    (run / "evaluation.json").write_text('{"accuracy": 0.5}')
    row = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 2}
    classes = {"<script>|x": row, "[a](http://b)": row}
    report = {"classes": classes}
    (run / "report" / "report.json").write_text(json.dumps(report))
    card = model_card.markdown(run / "model", loaded(), None)
    assert "\n# &lt;b&gt;films\\*\n" in card
    assert "| &lt;script&gt;\\|x " in card
    assert "| \\[a\\](http&#58;//b) " in card
    assert " &lt;i&gt;.tsv |" in card
    assert "\n````\n--train=<i>.tsv\n--header=```\n````\n" in card


SCORES = {"precision": 0.5, "recall": None, "f1": 0.5, "rows": 2}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        *(
            (name, text, message)
            for name in ("evaluation.json", "report/report.json")
            for text, message in (
                ("", ":1: not JSON"),
                ("[]", r": \[\]; needs an object"),
                ("3", ": 3; needs an object"),
                ("[" * 100_000, ":1: JSON that is nested more than 100 level"),
                ('{"a": 1, "a": 2}', ':1: not JSON: field "a" occurs twice'),
            )
        ),
        *(
            ("report/report.json", json.dumps({"classes": classes}), message)
            for classes, message in (
                ([], r": classes is \[\]; needs an object"),
                ({"a": []}, r": classes.a is \[\]; needs an object"),
                ({"a": {"f1": 1}}, r": classes.a: fields \['precision', 'r"),
                ({"a": SCORES | {"f1": "1"}}, ': classes.a.f1 is "1"; needs'),
                ({"a": SCORES | {"x": 1}}, r': classes.a: unknown fields \["x'),
            )
        ),
    ],
)
def test_a_damaged_file_is_named(name, text, message, loaded, tmp_path):
    run = tmp_path / "run"
    (run / "report").mkdir(parents=True)
    (run / "evaluation.json").write_text('{"accuracy": 0.5}')
    (run / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}{message}"):
        model_card.markdown(run / "model", loaded(), None)


def test_each_part_has_its_settings(loaded, tmp_path):
    """A record of the run counts more than the flags of its last start."""
    part = {
        "first_step": 1,
        "last_step": 1200,
        "date": "2026-01-02T03:04:05+00:00",
        "versions": {"kbert": "0.1.0", "keras": "3.1"},
        "inputs": {"train": {"name": "films.tsv", "fingerprint": "ab" * 32}},
        "settings": {"learning_rate": 0.01, "remat": False, "metric": None},
    }
    settings = {"learning_rate": 0.01, "remat": True, "metric": "f1"}
    later = {**part, "first_step": 1201, "last_step": 1500}
    parts = [part, {**later, "settings": settings}]
    record = {"command": "finetune", "parts": parts}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "flags.txt").write_text("--train=/home/me/films.tsv\n")
    card = model_card.markdown(tmp_path / "model", loaded(), None)
    first, second = card.split("Steps 1,201 to 1,500: 2026-")
    assert "Steps 1 to 1,200: 2026-01-02T03:04:05+00:00, kbert 0.1.0" in first
    assert "films.tsv | abababababababab |" in first
    assert "--learning_rate=0.01\n--noremat\n" in first
    assert "--learning_rate=0.01\n--metric=f1\n--remat\n" in second
    assert "/home/me" not in card


@pytest.mark.parametrize(
    "name",
    ["flags.txt", "run.json", "evaluation.json", "report/report.json"],
)
def test_what_it_shows_is_no_link_out_of_the_folder(name, loaded, tmp_path):
    """The card may be published: it would carry another's file along."""
    run = tmp_path / "run"
    (run / "report").mkdir(parents=True)
    (run / "evaluation.json").write_text('{"accuracy": 0.5}')
    secret = tmp_path / "secret"
    secret.write_text("{}")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(secret)
    message = f"{name}: a link to {secret}, outside its folder"
    with pytest.raises(ValueError, match=message):
        model_card.markdown(run / "model", loaded(), None)
