# SPDX-License-Identifier: Apache-2.0
"""Times of vectors and scores of texts, and of sentence-transformers'.

    pip install --no-deps sentence-transformers==6.2.0
    python -m benchmarks.embedding_speed --model=FOLDER --data_dir=DIR

FOLDER is a sentence-transformers model. Both sides embed 10,000 texts of mixed
length, batches of 32, each with its own sorting; and put 32 paragraphs in order
for a question, with a cross-encoder that kbert writes of the model. The sides
take turns, after one that does not count. Last come the matrix products of the
dense layers alone, by TensorFlow in float32, for kbert's batches: what its
encoder needs at least.
"""

import importlib.metadata
import json
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks.asked_process import AskedProcess, questions
from benchmarks.embedding_sides import cross_encoder

_MODEL = flags.DEFINE_string("model", None, "The folder.", required=True)
_DATA = flags.DEFINE_string("data_dir", None, "Data sets.", required=True)
_COUNT = flags.DEFINE_integer("texts", 10_000, "Texts to embed.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Turns of each side.")
_SIDES = ("kbert", "sentence_transformers")
_CANDIDATES = 32
_BATCH = 32


def main(argv):
    """Prints the medians of both sides and their ratios."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    for name in ("kbert-keras", "tensorflow", "torch", "sentence-transformers"):
        print(name, importlib.metadata.version(name))
    with tempfile.TemporaryDirectory() as folder:
        pairs = cross_encoder(_MODEL.value, f"{folder}/model")
        work = {"model": _MODEL.value, "pairs": pairs, **_texts()}
        path = f"{folder}/work.json"
        pathlib.Path(path).write_text(json.dumps(work), "utf-8")
        sides = {
            side: AskedProcess(
                "-m", "benchmarks.embedding_speed", f"--side={side}"
            )
            for side in _SIDES
        }
        for process in sides.values():
            process.ask(path)
        for what, rounds in (("encode", 1), ("rerank", 20)):
            print(f"{what}: {_compare(sides, what, rounds)}", flush=True)
        products = [
            sides["kbert"].ask(["products", 1])["seconds"][0]
            for _ in range(1 + _ROUNDS.value)
        ][1:]
        print(f"products alone: {statistics.median(products):.3f} s")
        for process in sides.values():
            process.close()


def _compare(sides, what, times) -> str:
    """Seconds of both, their ratio and the largest difference."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    found = {}
    for _ in range(1 + _ROUNDS.value):
        for side, process in sides.items():
            answer = process.ask([what, times])
            seconds[side] += answer["seconds"]
            found[side] = np.array(answer["found"])
    ours, theirs = (statistics.median(s[times:]) for s in seconds.values())
    difference = np.abs(found[_SIDES[0]] - found[_SIDES[1]]).max()
    return (
        f"{ours:.3f} and {theirs:.3f} s, {theirs / ours:.2f} times as fast, "
        f"largest difference {difference:.1e}"
    )


def _texts() -> dict[str, Any]:
    """Sentences, paragraphs and questions, shuffled; a question's texts."""
    root = pathlib.Path(_DATA.value)
    squad = json.loads(
        (root / "squad" / "train-v1.1-17articles.json").read_text("utf-8")
    )
    paragraphs = [p for a in squad["data"] for p in a["paragraphs"]]
    texts = [p["context"] for p in paragraphs]
    asked = [q["question"] for p in paragraphs for q in p["qas"]]
    rows = (root / "sick" / "train.tsv").read_text("utf-8").split("\n")[1:]
    sentences = [line.split("\t")[1] for line in rows if line]
    mixed = [*texts, *asked, *sentences]
    chosen = np.random.default_rng(1).choice(len(mixed), _COUNT.value)
    return {
        "texts": [mixed[i] for i in chosen],
        "question": asked[0],
        "candidates": texts[:_CANDIDATES],
    }


def _serve(side: str) -> None:
    """Answers how often to do which with times and what came out."""
    asked, answer = questions()
    path = next(asked)
    work = json.loads(pathlib.Path(path).read_text("utf-8"))
    calls = {"kbert": _kbert, "sentence_transformers": _torch}[side](work)
    answer({})
    for what, times in asked:
        seconds, found = [], None
        for _ in range(times):
            start = time.perf_counter()
            found = calls[what]()
            seconds.append(time.perf_counter() - start)
        answer({"seconds": seconds, "found": np.asarray(found).tolist()})


def _kbert(work):
    """What it can be asked for, by name."""
    from kbert import process

    process.use_onednn()
    process.keep_freed_memory()
    import kbert

    embedder = kbert.Embedder.from_pretrained(work["model"])
    reranker: Any = kbert.load(work["pairs"])
    texts = work["texts"]
    pairs = work["question"], work["candidates"]
    multiply = _products(embedder.config)
    counts = _tokens_of_batches(texts, embedder)
    return {
        "encode": lambda: embedder.predict(texts, batch_size=_BATCH)[:100],
        "rerank": lambda: reranker.predict(*pairs)["scores"],
        "products": lambda: [multiply(count) for count in counts],
    }


def _tokens_of_batches(texts, embedder) -> list[np.int32]:
    """How many tokens `predict` puts through the model at a time."""
    ordered = sorted(texts, key=len)
    counts = []
    for start in range(0, len(ordered), _BATCH):
        tokens = embedder.tokenizer(ordered[start : start + _BATCH])
        lengths = tokens.row_lengths().numpy() + 2
        counts.append(np.minimum(lengths, embedder.spec.max_seq_length).sum())
    return [np.int32(count) for count in counts]


def _products(config):
    """The dense layers' products for a number of tokens, as a function."""
    import tensorflow as tf

    H, inner = config.hidden_size, config.intermediate_size
    shapes = [(H, 3 * H), (H, H), (H, inner), (inner, H)]
    most = _BATCH * config.max_position_embeddings
    inputs = {n: tf.random.normal([most, n]) for n in (H, inner)}
    kernels = [
        tf.random.normal(shape)
        for _ in range(config.num_hidden_layers)
        for shape in shapes
    ]

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def multiply(tokens):
        # An element of each, so that none is optimized away.
        return [
            tf.matmul(inputs[kernel.shape[0]][:tokens], kernel)[-1, -1]
            for kernel in kernels
        ]

    return multiply


def _torch(work):
    """The same, but for the products."""
    import os

    import torch
    from sentence_transformers import CrossEncoder, SentenceTransformer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    embedder = SentenceTransformer(work["model"], device="cpu")
    reranker = CrossEncoder(work["pairs"], device="cpu")
    texts = work["texts"]
    pairs = [(work["question"], text) for text in work["candidates"]]
    return {
        "encode": lambda: embedder.encode(texts, batch_size=_BATCH)[:100],
        "rerank": lambda: reranker.predict(pairs),
    }


if __name__ == "__main__":
    if sys.argv[1].startswith("--side="):
        _serve(sys.argv[1].removeprefix("--side="))
    else:
        app.run(main)
