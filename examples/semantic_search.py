# SPDX-License-Identifier: Apache-2.0
"""Finds the paragraphs of a SQuAD file that answer questions.

    pip install -e '.[search]'
    python examples/semantic_search.py train-v1.1.json all-MiniLM-L6-v2 \
        --reranker=out/reranking/model "Who designed the building?"

An embedder gives each paragraph a vector once, and each question one; an exact
index (faiss) finds the nearest paragraphs. A reranker then reads the question
with each of these. --export takes the vectors from a served model's folder
instead, as TensorFlow Serving would give them.
"""

import argparse
import json
import pathlib
from collections.abc import Callable, Sequence

import faiss
import numpy as np
import tensorflow as tf

import kbert
from kbert.bin import standard_streams

Embed = Callable[[Sequence[str]], np.ndarray]
_BATCH = 32
_SHOWN = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the best paragraphs for each question."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("squad", help="the file with the paragraphs")
    parser.add_argument("embedder", help="a model's folder")
    parser.add_argument("questions", nargs="+")
    parser.add_argument("--reranker", help="a model's folder")
    parser.add_argument("--export", help="a version folder of the embedder")
    parser.add_argument("--nearest", type=int, default=20)
    given = parser.parse_args(arguments)
    paragraphs = read_paragraphs(given.squad)
    if given.export:
        embed = served(given.export)
    else:
        embed = kbert.Embedder.from_pretrained(given.embedder).predict
    reranker = given.reranker and kbert.load(given.reranker)
    index = build_index(embed(paragraphs))
    for question in given.questions:
        print(question)
        found = search(index, embed([question]), given.nearest)
        texts = [paragraphs[i] for i in found]
        if reranker:
            order = reranker.predict(question, texts)["order"]
            texts = [texts[i] for i in order]
        for rank, text in enumerate(texts[:_SHOWN], start=1):
            print(f"  {rank}. {text[:70]}")


def read_paragraphs(squad: str) -> list[str]:
    """The paragraphs of all articles, each once."""
    tree = json.loads(pathlib.Path(squad).read_text("utf-8"))
    texts = (p["context"] for x in tree["data"] for p in x["paragraphs"])
    return [*dict.fromkeys(text.strip() for text in texts)]


def served(folder: str) -> Embed:
    """The vectors of the signature `embeddings`, without kbert's classes."""
    import tensorflow_text  # noqa: F401 -- its ops, which servers link

    loaded = tf.saved_model.load(folder)
    signature = loaded.signatures["embeddings"]

    def embed(texts: Sequence[str]) -> np.ndarray:
        starts = range(0, len(texts), _BATCH)
        batches = (list(texts[i : i + _BATCH]) for i in starts)
        found = [signature(text=tf.constant(x))["embedding"] for x in batches]
        return np.concatenate(found)

    return embed


def build_index(vectors: np.ndarray) -> faiss.Index:
    """An exact index by cosine."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(_unit(vectors))
    return index


def search(index: faiss.Index, queries: np.ndarray, count: int) -> list[int]:
    """The indices of the vectors that are nearest to the first query."""
    _, indices = index.search(_unit(queries), min(count, index.ntotal))
    return indices[0].tolist()


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / norms, np.float32)


if __name__ == "__main__":
    with standard_streams.utf8_until_closed():
        main()
