# SPDX-License-Identifier: Apache-2.0
"""Hard negatives, against sorting all cosines by hand."""

import json

import numpy as np
import pytest

import kbert
from kbert import tasks
from kbert.checkpoints import folder
from kbert.runs import mining

QUERIES = ["good", "bad", "good", "very long"]
POSITIVES = ["the film", "was bad", "not bad .", "long film"]
OTHERS = ["very good", "not not", "the .", "film film", "good"]


@pytest.fixture
def model(build, tiny_config, vocabulary, tmp_path):
    spec = tasks.TaskSpec(task="encoder", max_seq_length=12)
    parts = {"config": tiny_config, "vocabulary": vocabulary, "spec": spec}
    folder.save(tmp_path / "model", build(spec), **parts)
    return tmp_path / "model"


@pytest.fixture
def flags(model, tmp_path):
    rows = zip(QUERIES, POSITIVES, strict=True)
    (tmp_path / "rows.csv").write_text(
        "q,p\n" + "".join(f"{a},{b}\n" for a, b in rows)
    )
    (tmp_path / "corpus.txt").write_text("".join(f"{x}\n" for x in OTHERS))
    return [
        f"--model={model}",
        f"--input={tmp_path / 'rows.csv'}",
        "--text_columns=q,p",
        f"--corpus={tmp_path / 'corpus.txt'}",
        f"--output_file={tmp_path / 'mined.jsonl'}",
    ]


@pytest.fixture
def reranker(build, tiny_config, vocabulary, tmp_path):
    spec = tasks.TaskSpec(
        task="reranking", max_seq_length=12, settings={"activation": "none"}
    )
    parts = {"config": tiny_config, "vocabulary": vocabulary, "spec": spec}
    folder.save(tmp_path / "reranker", build(spec), **parts)
    return tmp_path / "reranker"


def _cosines(model, corpus):
    embedder = kbert.Embedder.from_pretrained(model, normalize=True)
    return embedder.predict(QUERIES) @ embedder.predict(corpus).T


def _rerankers(path, corpus):
    """The scores of all texts, one pair at a time."""
    reranker = kbert.load(path)
    return np.array(
        [
            [reranker.predict(q, [text])["scores"][0] for text in corpus]
            for q in QUERIES
        ]
    )


def _by_hand(scores_of, margin, count):
    """The rows, from all scores."""
    corpus = [*dict.fromkeys(POSITIVES + OTHERS)]
    scores = scores_of(corpus)
    own = {q: {q} for q in QUERIES}
    for query, positive in zip(QUERIES, POSITIVES, strict=True):
        own[query].add(positive)
    rows = []
    for query, positive, row in zip(QUERIES, POSITIVES, scores, strict=True):
        limit = row[corpus.index(positive)]
        limit -= margin * abs(limit)
        left = [
            corpus[i]
            for i in np.argsort(-row)
            if corpus[i] not in own[query] and row[i] <= limit
        ]
        if len(left) >= count:
            rows.append((query, positive, *left[:count]))
    return rows


def _mined(tmp_path):
    text = (tmp_path / "mined.jsonl").read_text()
    return [tuple(json.loads(line).values()) for line in text.splitlines()]


@pytest.mark.parametrize(("margin", "count"), [(0.0, 1), (0.1, 2)])
def test_the_nearest_below_the_positive(
    margin, count, model, flags, tmp_path, call
):
    want = _by_hand(lambda corpus: _cosines(model, corpus), margin, count)
    assert 0 < len(want) <= len(QUERIES)
    said = call(
        "mine_negatives",
        *flags,
        f"--relative_margin={margin}",
        f"--num_negatives={count}",
    )
    assert sorted(_mined(tmp_path)) == sorted(want)
    left = len(QUERIES) - len(want)
    assert f"{len(want)} rows with {count} negatives; {left} rows" in said
    assert not (tmp_path / "mined.jsonl.partial").exists()
    # kbert-finetune and the Python API take it as it is.
    columns = ["anchor", "positive"]
    columns += [f"negative_{i + 1}" for i in range(count)]
    options = kbert.tasks.rows.DataOptions(text_columns=columns)
    rows = kbert.Embedder.read(str(tmp_path / "mined.jsonl"), options)
    assert len(rows) == len(want)


def test_a_rerankers_scores_count(model, reranker, flags, tmp_path, call):
    """Of all texts, as all are among the nearest 50."""

    def scores_of(corpus):
        return _rerankers(reranker, corpus)

    want = _by_hand(scores_of, 0.1, 1)
    assert 0 < len(want) <= len(QUERIES)
    assert want != _by_hand(lambda corpus: _cosines(model, corpus), 0.1, 1)
    call(
        "mine_negatives",
        *flags,
        f"--reranker={reranker}",
        "--relative_margin=0.1",
    )
    assert sorted(_mined(tmp_path)) == sorted(want)


def test_what_was_reranked_is_not_again(
    model, reranker, flags, tmp_path, call, monkeypatch
):
    """If a run is stopped after it; but it is if more texts are looked at."""
    flags = [*flags, f"--reranker={reranker}"]
    write = mining._write
    monkeypatch.setattr(mining, "_write", _killed)
    with pytest.raises(KeyboardInterrupt):
        call("mine_negatives", *flags)
    scores = tmp_path / "mined.jsonl.partial" / "scores_50.jsonl"
    # Other scores, by which one sees that they are read.
    rows = [json.loads(line) for line in scores.read_text().splitlines()]
    for row in rows:
        row["scores"] = [-score for score in row["scores"]]
    scores.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    monkeypatch.setattr(mining, "_write", write)
    want = _by_hand(lambda corpus: -_rerankers(reranker, corpus), 0.05, 1)
    call("mine_negatives", *flags)
    assert sorted(_mined(tmp_path)) == sorted(want)
    assert not scores.parent.exists()


def test_a_reranker_that_is_none(model, flags, call):
    message = f"--reranker={model}: a model for encoder; needs one for reranki"
    with pytest.raises(ValueError, match=message):
        call("mine_negatives", *flags, f"--reranker={model}")


def test_any_of_them(model, flags, tmp_path, call):
    """Each seed draws from those that are left, not always the nearest."""
    found = set()
    for seed in range(6):
        call("mine_negatives", *flags, "--sampling=random", f"--seed={seed}")
        rows = _mined(tmp_path)
        found.add(tuple(row[2] for row in rows))
        for query, positive, negative in rows:
            assert negative not in (query, positive)
            assert query != "good" or negative not in POSITIVES[0:3:2]
    assert len(found) > 1


def test_a_stopped_run_resumes(model, flags, tmp_path, call, monkeypatch):
    """What is embedded stays; other settings of the search may change."""
    whole = mining.search.nearest
    monkeypatch.setattr(mining.search, "nearest", _killed)
    with pytest.raises(KeyboardInterrupt):
        call("mine_negatives", *flags)
    partial = tmp_path / "mined.jsonl.partial"
    before = (partial / "document.npy").stat().st_mtime_ns
    monkeypatch.setattr(mining.search, "nearest", whole)
    seen = []
    monkeypatch.setattr(
        mining,
        "_embedded",
        lambda *args, made=mining._embedded: (
            seen.append((partial / "document.npy").stat().st_mtime_ns)
            or made(*args)
        ),
    )
    call("mine_negatives", *flags)
    assert seen == [before, before]
    assert len(_mined(tmp_path))


def _killed(*args):
    raise KeyboardInterrupt


def test_bad_input(model, flags, tmp_path, call):
    for more, message in (
        (["--output_file=a.csv"], "a.csv: needs the extension .jsonl"),
        (["--text_columns=q"], "--text_columns: needs a column of queries and"),
        (["--nearest=1", "--num_negatives=9"], "no row has 9 negatives"),
        (["--relative_margin=1"], "relative_margin is 1.0; needs 0 <= x < 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call("mine_negatives", *flags, *more)
    assert not (tmp_path / "mined.jsonl").exists()
