# SPDX-License-Identifier: Apache-2.0
"""Paragraphs are found by vectors, live or served, and reordered."""

import json

import numpy as np
import pytest

import kbert
from kbert import tasks
from kbert.checkpoints.folder import LoadedModel

pytest.importorskip("faiss")

from examples import semantic_search

PARAGRAPHS = ["the film was good .", "not very long .", "bad bad film ."]


@pytest.fixture
def squad(tmp_path):
    paragraphs = [{"context": text, "qas": []} for text in PARAGRAPHS * 2]
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return str(file)


@pytest.fixture
def embedder(build, tiny_config, vocabulary, tmp_path):
    spec = tasks.TaskSpec(task="encoder", max_seq_length=12)
    loaded = LoadedModel(build(spec), tiny_config, vocabulary, spec)
    kbert.Embedder(loaded).save(tmp_path / "embedder")
    return tmp_path / "embedder"


def _ranked(lines):
    """The texts that are printed, without their ranks."""
    return [line[5:] for line in lines if line.startswith("  ")]


def test_the_nearest_by_cosine(squad, embedder, tmp_path, capsys):
    question = "very long film"
    semantic_search.main([squad, str(embedder), question])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == question
    model = kbert.load(embedder)
    vectors = [model.predict(x) for x in ([question], PARAGRAPHS)]
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in vectors]
    order = np.argsort(-(units[0] @ units[1].T)[0])
    want = [PARAGRAPHS[i] for i in order]
    assert _ranked(lines) == want
    export = model.export(tmp_path / "export")
    arguments = [squad, str(embedder), question, f"--export={export}"]
    semantic_search.main(arguments)
    assert _ranked(capsys.readouterr().out.splitlines()) == want


def test_a_reranker_has_the_last_word(
    squad, embedder, build, tiny_config, vocabulary, tmp_path, capsys
):
    spec = tasks.TaskSpec(task="reranking", max_seq_length=12)
    loaded = LoadedModel(build(spec), tiny_config, vocabulary, spec)
    reranker = kbert.Reranker(loaded)
    reranker.save(tmp_path / "reranker")
    question = "good"
    arguments = [squad, str(embedder), question]
    semantic_search.main([*arguments, f"--reranker={tmp_path / 'reranker'}"])
    got = _ranked(capsys.readouterr().out.splitlines())
    scores = reranker.predict(question, PARAGRAPHS)["scores"]
    assert got == [PARAGRAPHS[i] for i in np.argsort(-np.array(scores))]
