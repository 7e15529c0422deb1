# SPDX-License-Identifier: Apache-2.0
"""Mines hard negatives: texts that an embedder takes for answers by mistake.

Queries and corpus are embedded into files in FILE.partial, next to the file of
triplets, and so are the scores of a reranker; a run that was killed resumes
there. The search takes blocks of the files of vectors.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kbert import atomic_files
from kbert.runs.mining_config import MiningConfig
from kbert.runs.predicting import ChunkedPredictor, Texts
from kbert.runs.progress import Progress
from kbert.tasks.embedding import search
from kbert.tasks.embedding.data import Texts as Rows
from kbert.tasks.embedding.predictor import DOCUMENT, QUERY
from kbert.tasks.embedding.task import Embedder
from kbert.tasks.reranking.predictor import SCORES
from kbert.tasks.reranking.task import Reranker

_QUERIES = 1024  # that are searched for at a time


class _Candidates(NamedTuple):
    """The texts of the corpus that a query has, by their indices.

    Attributes:
        own: the positives of the query's rows.
        own_scores: of these; cosines, or a reranker's.
        others: the nearest texts that are no positives, the best first.
        other_scores: of these.
    """

    own: list[int]
    own_scores: np.ndarray
    others: np.ndarray
    other_scores: np.ndarray


def mine(
    embedder: Embedder,
    rows: Rows,
    path: str | os.PathLike,
    *,
    config: MiningConfig,
    settings: Mapping[str, Any],
    reranker: Reranker | None = None,
) -> None:
    """Writes rows with negatives, as JSON Lines, which appear when complete.

    Each has "anchor", "positive" and "negative_1" to "negative_N". A row that
    has fewer negatives left than asked for is left out and counted.

    Args:
        embedder: which finds the texts.
        rows: queries and positives, and other texts of the corpus.
        path: of the file, .jsonl.
        config: which texts become negatives.
        settings: what vectors and scores depend on, as JSON: a run with
            others is not resumed.
        reranker: whose scores count instead of the cosines, of the positives
            and of the nearest texts.
    Raises: ValueError, naming the file; OSError.
    """
    if pathlib.Path(path).suffix != ".jsonl":
        raise ValueError(f"{path}: needs the extension .jsonl.")
    atomic_files.check_file(path)
    path = pathlib.Path(os.path.realpath(path))
    queries = [*dict.fromkeys(rows.columns[0])]
    corpus = [*dict.fromkeys((*rows.columns[1], *rows.others))]
    digest = hashlib.sha256(json.dumps([queries, corpus]).encode())
    settings = {**settings, "texts": digest.hexdigest()}
    with atomic_files.partial_folder(path, settings) as folder:
        vectors = [
            _embedded(embedder, texts, kind, folder, settings)
            for texts, kind in ((queries, QUERY), (corpus, DOCUMENT))
        ]
        own = _positives(rows, queries, corpus)

        def candidates():
            return _candidates(queries, corpus, own, vectors, config)

        found = candidates()
        if reranker:
            file = folder / f"scores_{config.nearest}.jsonl"
            if not file.exists():
                chunks = _chunked(reranker.predictor, "queries with texts")
                texts = _with_texts(queries, corpus, candidates())
                chunks.to_file(texts, file, settings)
            found = _rescored(found, file)
        lines = _lines(queries, corpus, own, found, config)
        written = folder / "rows"
        count = _write(lines, written)
        if not count:
            raise ValueError(
                f"{rows.path}: no row has {config.num_negatives} negatives; "
                "needs a larger --nearest, a smaller --relative_margin or more "
                "texts."
            )
        atomic_files.move(written, path)
        atomic_files.remove_folder(folder)
    print(
        f"{path}: {count:,} rows with {config.num_negatives} negatives; "
        f"{len(rows) - count:,} rows have too few",
        flush=True,
    )


def _write(lines: Iterator[str], path: pathlib.Path) -> int:
    """Writes a file, and returns the number of its lines."""
    with open(path, "w", encoding="utf-8") as file:
        return sum(1 for line in lines if file.write(line))


def _embedded(embedder, texts, kind, folder, settings) -> np.ndarray:
    """The vectors of texts, from a file that a stopped run may have filled."""
    path = folder / f"{kind}.npy"
    if not path.exists():
        name = {QUERY: "queries", DOCUMENT: "texts"}[kind]
        chunks = _chunked(embedder.predictor_of(kind), name)
        numbered = Texts(
            kind, len(texts), enumerate(zip(texts, strict=True), start=1)
        )
        chunks.to_file(numbered, path, settings)
    return np.load(path, mmap_mode="r")


def _chunked(predictor, name) -> ChunkedPredictor:
    progress = Progress()

    def report(step, done, total):
        progress(f"{step} {name}", done, total)

    return ChunkedPredictor(predictor, {}, report)


def _positives(
    rows: Rows, queries: Sequence[str], corpus: Sequence[str]
) -> list[list[int]]:
    """The index of the positive of each row, by query."""
    numbers = {text: index for index, text in enumerate(corpus)}
    found: dict[str, list[int]] = {query: [] for query in queries}
    for query, positive in zip(*rows.columns[:2], strict=True):
        found[query].append(numbers[positive])
    return [*found.values()]


def _nearest(vectors, config) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each query the cosines and the indices of the nearest texts."""
    queries, corpus = vectors
    progress = Progress()
    for start in range(0, len(queries), _QUERIES):
        progress("searching", start, len(queries))
        block = queries[start : start + _QUERIES]
        yield from zip(
            *search.nearest(block, corpus, config.nearest), strict=True
        )
    progress("searching", len(queries), len(queries))


def _candidates(
    queries: Sequence[str], corpus: Sequence[str], positives, vectors, config
) -> Iterator[_Candidates]:
    """Yields what the search finds for each query, with cosines."""
    numbers = {text: index for index, text in enumerate(corpus)}
    for index, (cosines, near) in enumerate(_nearest(vectors, config)):
        own = sorted({*positives[index]})
        unit = search.unit(vectors[0][index : index + 1])[0]
        of_own = search.unit(vectors[1][own]) @ unit
        # Other texts of a query's are no negatives of it, nor is it itself.
        is_other = ~np.isin(near, [*own, numbers.get(queries[index], -1)])
        yield _Candidates(own, of_own, near[is_other], cosines[is_other])


def _with_texts(
    queries: Sequence[str],
    corpus: Sequence[str],
    candidates: Iterator[_Candidates],
) -> Texts:
    """The queries with all their candidates, as a reranker takes them."""
    rows = (
        (number, (query, [corpus[i] for i in (*found.own, *found.others)]))
        for number, (query, found) in enumerate(
            zip(queries, candidates, strict=True), start=1
        )
    )
    return Texts("queries with texts", len(queries), rows)


def _rescored(
    candidates: Iterator[_Candidates], path: pathlib.Path
) -> Iterator[_Candidates]:
    """Yields the same with the scores of a file, the best first."""
    with open(path, encoding="utf-8") as file:
        for found, line in zip(candidates, file, strict=True):
            scores = np.array(json.loads(line)[SCORES])
            own, others = np.split(scores, [len(found.own)])
            order = np.argsort(-others, stable=True)
            yield _Candidates(
                found.own, own, found.others[order], others[order]
            )


def _lines(
    queries: Sequence[str], corpus: Sequence[str], positives, candidates, config
) -> Iterator[str]:
    """The rows that have enough negatives, as JSON, query by query."""
    draw = np.random.default_rng(config.seed)
    for query, own, found in zip(queries, positives, candidates, strict=True):
        for positive in own:
            score = float(found.own_scores[found.own.index(positive)])
            limit = score - config.relative_margin * abs(score)
            left = found.others[found.other_scores <= limit]
            if len(left) < config.num_negatives:
                continue
            if config.sampling == "random":
                left = draw.permutation(left)
            texts = [corpus[i] for i in left[: config.num_negatives]]
            row = {"anchor": query, "positive": corpus[positive]}
            row |= {f"negative_{i}": x for i, x in enumerate(texts, start=1)}
            yield json.dumps(row, ensure_ascii=False) + "\n"
