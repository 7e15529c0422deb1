# SPDX-License-Identifier: Apache-2.0
"""The cost of reduced precision is measured, reported and limited."""

import math

import keras
import numpy as np
import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.runs import precision
from kbert.tasks.predictor import make_predictor
from kbert.tasks.rows import DataOptions

TEXTS = ["good", "the film was not very good .", "bad bad film", "long"]


@pytest.fixture
def regressor(tmp_path, tiny_config, vocabulary):
    """A model folder, and a file whose labels are its own answers."""
    spec = tasks.TaskSpec(task="regression", max_seq_length=9)
    parts = {"vocabulary": vocabulary, "spec": spec}
    model = tasks.build(tiny_config, spec)
    rng = np.random.default_rng(2)
    for variable in model.weights:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    folder.save(tmp_path / "model", model, config=tiny_config, **parts)
    answers = make_predictor(model, **parts).predict(TEXTS)
    values = [row["value"] for row in answers]
    file = tmp_path / "dev.tsv"
    lines = [f"{t}\t{v!r}\n" for t, v in zip(TEXTS, values, strict=True)]
    file.write_text("text\tlabel\n" + "".join(lines))
    return tmp_path / "model", str(file)


def _reduce(regressor, kind, max_drop):
    path, dev = regressor
    return precision.reduce(
        folder.load(path),
        kind,
        options=DataOptions(text_columns=["text"]),
        dev=dev,
        max_drop=max_drop,
    )


@pytest.mark.parametrize(
    ("kind", "computes"),
    [
        ("int8", "float32"),
        pytest.param("bfloat16", "bfloat16", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_what_it_costs(kind, computes, regressor, capsys):
    loaded, signatures, about = _reduce(regressor, kind, 0.05)
    assert loaded.model.dtype_policy.compute_dtype == computes
    assert keras.config.dtype_policy().name == "float32"
    dtypes = [getattr(x, "dtype", None) for x in signatures.weights]
    assert dtypes.count(kind) == 1 + 4 * 2  # the table, two blocks
    printed = capsys.readouterr().out
    assert about in printed
    # The export's bytes do not depend on how fast the machine was.
    assert "rows a second" in printed and "rows a second" not in about
    assert "\n## Precision\n" in about and "on dev.tsv, 4 rows" in about
    cells = [[x.strip() for x in y.split("|")] for y in about.splitlines()]
    table = {row[1]: row[2:5] for row in cells if len(row) == 6}
    assert table[""] == ["float32", kind, "change"]
    before, after, change = map(float, table["pearson"])
    assert before == 1.0 and 0.95 < after
    assert after - before == pytest.approx(change, abs=2e-4)
    answers = [row["value"] for row in signatures.predict(TEXTS)]
    references = [float(x.split("\t")[1]) for x in _lines(regressor)]
    distance = np.abs(np.subtract(answers, references)).max()
    assert 1e-5 < distance < 0.1


def _lines(regressor):
    with open(regressor[1]) as file:
        return file.read().splitlines()[1:]


def test_a_score_that_falls_too_far(regressor):
    message = r"--max_score_drop=0: pearson on .*dev.tsv goes from 1.0000 to"
    with pytest.raises(ValueError, match=message):
        _reduce(regressor, "int8", 0.0)


@pytest.mark.parametrize(
    ("after", "limit", "refused"),
    [
        (0.74, 0.05, True),
        (0.76, 0.05, False),
        (0.9, 0.0, False),
        (math.nan, 0.05, True),
    ],
)
def test_the_limit(after, limit, refused):
    scores = ({"f1": 0.8}, {"f1": after})
    cost = precision.Cost("dev.tsv", 50, "f1", scores, (2.0, 1.0))
    assert cost.speed("int8").endswith("2.0 in float32, 1.0 in int8, x 0.50")
    if not refused:
        return cost.check(limit)
    with pytest.raises(ValueError, match="f1 on dev.tsv goes from 0.8000 to"):
        cost.check(limit)


def test_names_are_escaped_and_have_no_folder():
    scores = {"f1": 0.8, "f1 of <b>|": 0.5}
    cost = precision.Cost(
        "/home/me/<b>dev*.tsv", 50, "f1", (scores, scores), (2.0, 1.0)
    )
    about = cost.markdown("int8")
    assert "on &lt;b&gt;dev\\*.tsv, 50 rows" in about
    assert "\n| f1 of &lt;b&gt;\\| |" in about
    assert "/home" not in about and "<" not in about


def test_a_label_that_is_none_is_named(regressor):
    with open(regressor[1], "a") as file:
        file.write("good\tmuch\n")
    with pytest.raises(ValueError, match=r"dev.tsv:6: .*much"):
        _reduce(regressor, "int8", 0.05)
