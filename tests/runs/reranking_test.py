# SPDX-License-Identifier: Apache-2.0
"""A reranker on the texts that an embedder finds, one pair at a time."""

import json

import numpy as np
import pytest
from absl import app

import kbert
from kbert import tasks
from kbert.checkpoints import folder

QUERIES = ["good", "bad", "good", "very long"]
POSITIVES = ["the film", "was bad", "not bad .", "long film"]
OTHERS = ["very good", "not not", "the .", "film film", "was long"]


@pytest.fixture
def models(build, tiny_config, vocabulary, tmp_path):
    """The folders of an embedder and of a reranker."""
    for task in ("encoder", "reranking"):
        spec = tasks.TaskSpec(task=task, max_seq_length=12)
        parts = {"config": tiny_config, "vocabulary": vocabulary, "spec": spec}
        folder.save(tmp_path / task, build(spec), **parts)
    return tmp_path / "encoder", tmp_path / "reranking"


@pytest.fixture
def qrels(tmp_path):
    """A BEIR folder with the rows."""
    root = tmp_path / "beir"
    (root / "qrels").mkdir(parents=True)
    texts = POSITIVES + OTHERS
    names = {"corpus": texts, "queries": [*dict.fromkeys(QUERIES)]}
    for name, rows in names.items():
        lines = [
            json.dumps({"_id": f"{name}{i}", "text": text}) + "\n"
            for i, text in enumerate(rows)
        ]
        (root / f"{name}.jsonl").write_text("".join(lines))
    lines = ["query-id\tcorpus-id\tscore\n"]
    lines += [
        f"queries{names['queries'].index(query)}\tcorpus{i}\t1\n"
        for i, query in enumerate(QUERIES)
    ]
    (root / "qrels" / "test.tsv").write_text("".join(lines))
    return root / "qrels" / "test.tsv"


def by_hand(models, nearest):
    """MRR@10 and recall@10 of the search and of the new order."""
    embedder = kbert.Embedder.from_pretrained(models[0], normalize=True)
    reranker = kbert.load(models[1])
    corpus = POSITIVES + OTHERS
    found = {}
    for query in dict.fromkeys(QUERIES):
        own = [p for q, p in zip(QUERIES, POSITIVES, strict=True) if q == query]
        cosines = embedder.predict([query]) @ embedder.predict(corpus).T
        order = [corpus[i] for i in np.argsort(-cosines[0])]
        scores = {x: reranker.predict(query, [x])["scores"] for x in order}
        first = sorted(order[:nearest], key=scores.get, reverse=True)
        for name, ranking in (
            ("embedder ", order),
            ("", first + order[nearest:]),
        ):
            rank = min(map(ranking.index, own)) + 1
            found.setdefault(f"{name}mrr@10", []).append(1 / rank)
            found.setdefault(f"{name}accuracy@1", []).append(rank == 1)
    return {name: np.mean(values) for name, values in found.items()}


@pytest.mark.parametrize("nearest", [3, 50])
def test_the_first_texts_are_put_in_order(
    nearest, models, qrels, tmp_path, call
):
    embedder, reranker = models
    want = by_hand(models, nearest)
    assert want["mrr@10"] != want["embedder mrr@10"]
    said = call(
        "evaluate",
        f"--model={reranker}",
        f"--embedder={embedder}",
        f"--input={qrels}",
        f"--nearest={nearest}",
        f"--output={tmp_path / 'scores.json'}",
    )
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {name: scores[name] for name in want} == pytest.approx(want)
    assert f"embedder mrr@10: {want['embedder mrr@10']:.4f}" in said


def test_a_table_has_a_corpus_of_positives(models, tmp_path, call):
    rows = zip(QUERIES, POSITIVES, strict=True)
    table = "q,p\n" + "".join(f"{a},{b}\n" for a, b in rows)
    (tmp_path / "rows.csv").write_text(table)
    embedder, reranker = models
    said = call(
        "evaluate",
        f"--model={reranker}",
        f"--embedder={embedder}",
        f"--input={tmp_path / 'rows.csv'}",
        "--text_columns=q,p",
    )
    assert "recall@10: 1.0000" in said


def test_what_needs_no_embedder(models, qrels, tmp_path, call):
    embedder, reranker = models
    flags = [f"--input={qrels}", f"--embedder={embedder}"]
    with pytest.raises(app.UsageError, match="is for rerankers"):
        call("evaluate", *flags, f"--model={embedder}")
    with pytest.raises(app.UsageError, match="without --report_dir"):
        call("evaluate", *flags, f"--model={reranker}", "--report_dir=a")
    (tmp_path / "a.csv").write_text("q,p,label\na,b,1\n")
    flags[0] = f"--input={tmp_path / 'a.csv'}"
    with pytest.raises(ValueError, match="a.csv: needs queries and positives"):
        call(
            "evaluate",
            *flags,
            f"--model={reranker}",
            "--text_columns=q,p",
            "--label_column=label",
        )
