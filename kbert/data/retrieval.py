# SPDX-License-Identifier: Apache-2.0
"""Reads the BEIR layout: queries, a corpus, and which texts answer which query.

    FOLDER/corpus.jsonl     {"_id": "d1", "title": "Lakes", "text": "..."}
    FOLDER/queries.jsonl    {"_id": "q1", "text": "How deep is it?"}
    FOLDER/qrels/test.tsv   query-id    corpus-id    score

The layout is that of Thakur et al. 2021, arXiv:2104.08663. Each file may be
compressed: NAME.gz.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NotRequired, TypedDict

from kbert import json_files
from kbert.data import tables
from kbert.text import text_files

_HEADER = ["query-id", "corpus-id", "score"]


class _Query(TypedDict):
    _id: str
    text: str


class _Document(_Query):
    title: NotRequired[str]


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """Queries, a corpus, and the relevant texts of each query.

    Attributes:
        path: the qrels file.
        query_ids: the queries that have a relevant text, as queries.jsonl
            orders them.
        queries: their texts.
        corpus_ids: the texts of the corpus, in the order of corpus.jsonl.
        corpus: title and text of each, with a space between.
        relevant: for each query the indices in the corpus of its relevant
            texts, each with its grade, from 1.
        num_without_relevant: queries of the qrels file that are left out:
            all their scores are 0.
    """

    path: str
    query_ids: list[str]
    queries: list[str]
    corpus_ids: list[str]
    corpus: list[str]
    relevant: list[dict[int, int]]
    num_without_relevant: int

    def __len__(self) -> int:
        """The number of queries."""
        return len(self.queries)


def is_qrels(path: str | os.PathLike) -> bool:
    """Tells whether a path is that of a qrels file: FOLDER/qrels/NAME.tsv."""
    is_table = tables.extension(path) == ".tsv"
    return is_table and pathlib.Path(path).absolute().parent.name == "qrels"


def read_retrieval(path: str, *, encoding: str = "utf-8") -> Retrieval:
    """Reads a qrels file, and the queries and the corpus that belong to it.

    Args:
        path: the qrels file; corpus.jsonl and queries.jsonl are in the folder
            above its own.
        encoding: the encoding of the files.
    Raises: ValueError, naming file and line, for an `_id` that occurs twice,
        an id of the qrels file that has no text, a score that is not a whole
        number from 0, a pair with two scores, or an empty corpus; naming the
        file, if no query has a relevant text. OSError.
    """
    folder = pathlib.Path(path).absolute().parent.parent
    corpus = {
        name: f"{row.get('title', '')} {row['text']}".strip()
        for name, row in _by_id(_file(folder, "corpus"), _Document, encoding)
    }
    queries = {
        name: row["text"]
        for name, row in _by_id(_file(folder, "queries"), _Query, encoding)
    }
    indices = {name: index for index, name in enumerate(corpus)}
    judged: dict[str, dict[int, int]] = {}
    for where, (query, document), grade in _judgements(path, encoding):
        _check_known(where, "query-id", query, queries)
        _check_known(where, "corpus-id", document, indices)
        grades = judged.setdefault(query, {})
        if grades.setdefault(indices[document], grade) != grade:
            raise ValueError(
                f"{where}: score {grade} of query {query!r} and text "
                f"{document!r}, which have another score above; needs one."
            )
    relevant = {
        name: {index: x for index, x in judged[name].items() if x}
        for name in queries
        if any(judged.get(name, {}).values())
    }
    if not relevant:
        raise ValueError(f"{path}: no score above 0; needs a relevant text.")
    return Retrieval(
        path=path,
        query_ids=[*relevant],
        queries=[queries[name] for name in relevant],
        corpus_ids=[*corpus],
        corpus=[*corpus.values()],
        relevant=[*relevant.values()],
        num_without_relevant=len(judged) - len(relevant),
    )


def _file(folder: pathlib.Path, name: str) -> str:
    plain = folder / f"{name}.jsonl"
    packed = folder / f"{name}.jsonl.gz"
    return str(packed if packed.exists() and not plain.exists() else plain)


def _by_id(
    path: str, schema: Any, encoding: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the objects of a JSON Lines file, each with its `_id`."""
    seen = set()
    for line, row in tables.json_objects(path, encoding):
        where = f"{path}:{line}"
        json_files.check(row, schema, where, others=Any)
        if row["_id"] in seen:
            raise ValueError(
                f"{where}: a second _id {row['_id']!r}; needs one of its own."
            )
        seen.add(row["_id"])
        yield row["_id"], row
    if not seen:
        raise ValueError(f"{path}: no texts; needs one or more.")


def _judgements(
    path: str, encoding: str
) -> Iterator[tuple[str, tuple[str, str], int]]:
    """Yields the lines of a qrels file: where, the two ids, the score."""
    lines = enumerate(text_files.read_lines(path, encoding), start=1)
    for number, line in lines:
        where, fields = f"{path}:{number}", line.split("\t")
        if number == 1:
            if fields != _HEADER:
                raise ValueError(
                    f"{where}: {line[:60]!r}; needs the header "
                    f"{', '.join(_HEADER)}, with tabs between."
                )
        elif line.strip():
            if len(fields) != len(_HEADER):
                raise ValueError(
                    f"{where}: {len(fields)} fields; the header has "
                    f"{len(_HEADER)}."
                )
            query, document, score = fields
            if not (score.isascii() and score.isdigit()):
                raise ValueError(
                    f"{where}: score {score!r}; needs a whole number from 0."
                )
            yield where, (query, document), int(score)


def _check_known(where, column, name, known):
    if name not in known:
        raise ValueError(
            f"{where}: {column} {name!r} is not in "
            f"{'queries' if column == 'query-id' else 'corpus'}.jsonl."
        )
