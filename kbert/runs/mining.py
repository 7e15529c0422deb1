# SPDX-License-Identifier: Apache-2.0
"""Mines hard negatives: texts that an embedder takes for answers by mistake.

Queries and corpus are embedded into files in FILE.partial, next to the file of
triplets; a run that was killed resumes there. The search then takes blocks of
these files.
"""

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kbert import atomic_files
from kbert.runs.mining_config import MiningConfig
from kbert.runs.predicting import ChunkedPredictor, Texts
from kbert.runs.progress import Progress
from kbert.tasks.embedding import search
from kbert.tasks.embedding.data import Texts as Rows
from kbert.tasks.embedding.predictor import DOCUMENT, QUERY
from kbert.tasks.embedding.task import Embedder

_QUERIES = 1024  # that are searched for at a time


def mine(
    embedder: Embedder,
    rows: Rows,
    path: str | os.PathLike,
    *,
    config: MiningConfig,
    settings: Mapping[str, Any],
) -> None:
    """Writes rows with negatives, as JSON Lines, which appear when complete.

    Each has "anchor", "positive" and "negative_1" to "negative_N". A row that
    has fewer negatives left than asked for is left out and counted.

    Args:
        embedder: which finds the texts.
        rows: queries and positives, and other texts of the corpus.
        path: of the file, .jsonl.
        config: which texts become negatives.
        settings: what the vectors depend on, as JSON: a run with others is
            not resumed.
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
        found = _found(vectors, config)
        lines = _lines(rows, queries, corpus, vectors, found, config)
        written = folder / "rows"
        with open(written, "w", encoding="utf-8") as file:
            count = 0
            for line in lines:
                file.write(line)
                count += 1
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


def _embedded(embedder, texts, kind, folder, settings) -> np.ndarray:
    """The vectors of texts, from a file that a stopped run may have filled."""
    path = folder / f"{kind}.npy"
    if not path.exists():
        progress = functools.partial(_report, Progress(), kind)
        chunks = ChunkedPredictor(embedder.predictor_of(kind), {}, progress)
        numbered = Texts(
            kind, len(texts), enumerate(zip(texts, strict=True), start=1)
        )
        chunks.to_file(numbered, path, settings)
    return np.load(path, mmap_mode="r")


def _report(progress, kind, step, done, total):
    progress(f"{step} {kind}s", done, total)


def _found(vectors, config) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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


def _lines(
    rows: Rows, queries: Sequence[str], corpus, vectors, found, config
) -> Iterator[str]:
    """The rows that have enough negatives, as JSON, query by query."""
    numbers = {text: index for index, text in enumerate(corpus)}
    positives: dict[str, list[int]] = {}
    for query, positive in zip(*rows.columns[:2], strict=True):
        positives.setdefault(query, []).append(numbers[positive])
    draw = np.random.default_rng(config.seed)
    for index, (query, (cosines, near)) in enumerate(
        zip(queries, found, strict=True)
    ):
        own = sorted({*positives[query]})
        # Other texts of a query's are no negatives of it.
        is_other = ~np.isin(near, [*own, numbers.get(query, -1)])
        unit = search.unit(vectors[0][index : index + 1])[0]
        of_own = search.unit(vectors[1][own]) @ unit
        for positive in positives[query]:
            cosine = float(of_own[own.index(positive)])
            limit = cosine - config.relative_margin * abs(cosine)
            left = near[is_other & (cosines <= limit)]
            if len(left) < config.num_negatives:
                continue
            if config.sampling == "random":
                left = draw.permutation(left)
            texts = [corpus[i] for i in left[: config.num_negatives]]
            row = {"anchor": query, "positive": corpus[positive]}
            row |= {f"negative_{i}": x for i, x in enumerate(texts, start=1)}
            yield json.dumps(row, ensure_ascii=False) + "\n"
