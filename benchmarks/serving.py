# SPDX-License-Identifier: Apache-2.0
"""Times raw text to vectors in kbert's export and in its peers, alternately.

Each side is a separate process that loads a model and then answers requests,
while the others sleep: kbert's export; KerasHub's layers exported
with fixed length; onnxruntime and PyTorch with transformers' tokenizer,
padded to the longest; and, as a limit, the matrix products of the texts' own
tokens. Texts are movie sentences and those of WikiGold, drawn once, in batches
of 1, 8 and 32. TensorFlow's sides have the environment of export/tf_serving/
(oneDNN's operations). The sides take turns, every five requests, for some
rounds. The tables on standard output are ready for RESULTS.md:

    python -m benchmarks.serving --data_dir=DIR --output_dir=out/serving

DIR holds pretrain/movie_reviews_cv0-8.txt, one sentence a line,
ner/wikigold/train.conll and vocab/bert-base-uncased-vocab.txt. It needs the
packages onnx and onnxruntime.
"""

import argparse
import dataclasses
import importlib
import importlib.metadata
import itertools
import os
import pathlib
import random
import resource
import statistics
import sys
import time
from typing import Any

from benchmarks import finetune_runs
from benchmarks.asked_process import AskedProcess, questions
from benchmarks.pretrain_step import processor
from benchmarks.serving_sides import KBERT, THREADS, WITHOUT_TEXT, Model

_SIDES = ("kbert", "keras_hub", "onnxruntime", "pytorch", "products")
_SIZES = ("6x384", "base")
_BATCHES = (1, 8, 32)
_TURN = 5  # requests that a side answers before it is the next one's turn
# Of each kind, by size; and of a batch of 1 a quarter of them.
_TEXTS = {"6x384": 320, "base": 64}
_PACKAGES = (
    *("tensorflow", "tensorflow-text", "keras-hub", "onnxruntime", "torch"),
    "transformers",
)


@dataclasses.dataclass
class Times:
    """Of one side, kind of texts and batch: seconds of each request."""

    rounds: list[list[float]]

    def percentile(self, share: float) -> float:
        """Milliseconds within which that share of requests is answered."""
        every = sorted(x for some in self.rounds for x in some)
        return 1e3 * every[min(int(share * len(every)), len(every) - 1)]

    def ratios(self, other: "Times") -> list[float]:
        """In each round, how many times as long the other took."""
        return [
            sum(b) / sum(a)
            for a, b in zip(self.rounds, other.rounds, strict=True)
        ]


class SideProcess:
    """The parent's end of one side."""

    def __init__(self, side: str, model: Model):
        self._process = AskedProcess("-m", "benchmarks.serving", "--serve")
        question = [side, *map(str, model)]
        self._process.ask(question)

    def run(self, batches: list[list[str]]) -> tuple[list[float], Any, float]:
        """Seconds of each batch, the last answer, and MiB at most so far."""
        return self._process.ask(batches)

    def close(self) -> None:
        """Ends the process."""
        self._process.close()


def _serve() -> None:
    # As export/tf_serving/ has it; only TensorFlow's sides look at it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    asked, tell = questions()
    side, *folders = next(asked)
    module = importlib.import_module(f"benchmarks.serving_sides.{side}")
    answer = module.make(Model(*map(pathlib.Path, folders)))
    tell(None)
    for batches in asked:
        seconds, found = [], None
        for texts in batches:
            start = time.perf_counter()
            found = answer(texts)
            seconds.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        tell((seconds, found.tolist() if found is not None else None, peak))


def _load() -> None:
    """Seconds from the start of loading a SavedModel to its first answer."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    asked, tell = questions()
    import tensorflow as tf
    import tensorflow_text  # noqa: F401, for its ops

    for path, signature in asked:
        start = time.perf_counter()
        graph = tf.saved_model.load(path).signatures[signature]
        inputs = {
            name: tf.constant(["A fine film."])
            if spec.dtype == tf.string
            else tf.ones((1, 6), tf.int32)
            for name, spec in graph.structured_input_signature[1].items()
        }
        graph(**inputs)
        tell(time.perf_counter() - start)


def _loading_report(size: str, model: Model, rounds: int) -> str:
    """Of kbert's export, and of the same encoder without text."""
    graphs = {
        "kbert's export": (model.work / KBERT / "1", "embeddings"),
        "the encoder on token ids": (
            model.work / WITHOUT_TEXT,
            "serving_default",
        ),
    }
    seconds = {name: [] for name in graphs}
    for _ in range(rounds):
        for name, (path, signature) in graphs.items():
            process = AskedProcess("-m", "benchmarks.serving", "--load")
            seconds[name].append(process.ask([str(path), signature]))
            process.close()
    lines = [f"{size}:\n", "| loaded and asked once | s | in the rounds |"]
    lines.append("|---|---:|---:|")
    lines += [
        f"| {name} | {statistics.median(found):.2f} "
        f"| {min(found):.2f} to {max(found):.2f} |"
        for name, found in seconds.items()
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Runs the rounds and prints the tables."""
    modes = {"--serve": _serve, "--load": _load}
    if len(sys.argv) == 2 and sys.argv[1] in modes:
        return modes[sys.argv[1]]()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument("--output_dir", default="out/serving")
    parser.add_argument("--sizes", default=",".join(_SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    finetune_runs.hide_gpus()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    texts = {
        "movies": _movie_sentences(args.data_dir),
        "WikiGold": _wikigold_sentences(args.data_dir),
    }
    print(f"{processor()}.  ")
    versions = [f"{p} {importlib.metadata.version(p)}" for p in _PACKAGES]
    print(f"{', '.join(versions)}; {args.rounds} rounds.\n")
    for size in args.sizes.split(","):
        model = _model(size, args)
        for side in _SIDES:
            finetune_runs.in_new_process(_prepare, side, model)
        print(_loading_report(size, model, args.rounds), flush=True)
        for kind in texts:  # print each report as soon as it is done
            some = {kind: texts[kind][: _TEXTS[size]]}
            print(_report(size, *_run(model, some, args.rounds)), flush=True)
    return None


def _prepare(side: str, model: Model) -> None:
    importlib.import_module(f"benchmarks.serving_sides.{side}").prepare(model)


def _model(size: str, args: argparse.Namespace) -> Model:
    work = pathlib.Path(args.output_dir) / size
    work.mkdir(parents=True, exist_ok=True)
    if size == "6x384":
        return Model(pathlib.Path(finetune_runs.model_folder()), work)
    folder = work / "hugging_face"
    if not folder.exists():
        vocabulary = args.data_dir / "vocab" / "bert-base-uncased-vocab.txt"
        finetune_runs.in_new_process(_write_base, folder, vocabulary)
    return Model(folder, work)


def _write_base(folder: pathlib.Path, vocabulary: pathlib.Path) -> None:
    """An encoder of base size with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig()
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer = transformers.BertTokenizerFast(str(vocabulary))
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").write_bytes(vocabulary.read_bytes())


def _movie_sentences(data: pathlib.Path) -> list[str]:
    text = (data / "pretrain/movie_reviews_cv0-8.txt").read_text("utf-8")
    lines = [line for line in text.split("\n") if line.strip()]
    return random.Random(0).sample(lines, max(_TEXTS.values()))


def _wikigold_sentences(data: pathlib.Path) -> list[str]:
    text = (data / "ner/wikigold/train.conll").read_text("utf-8")
    blocks = [x for x in text.split("\n\n") if x.strip()]
    sentences = [
        " ".join(line.split()[0] for line in block.splitlines() if line.strip())
        for block in blocks
        if "-DOCSTART-" not in block
    ]
    return random.Random(0).sample(sentences, max(_TEXTS.values()))


def _run(model, texts, rounds):
    """The times by kind, batch and side; peaks; the last answers."""
    sides = {side: SideProcess(side, model) for side in _SIDES}
    times: dict[tuple[str, int, str], Times] = {}
    peaks: dict[str, float] = {}
    answers: dict[tuple[str, int, str], Any] = {}
    for kind, every in texts.items():
        for size in _BATCHES:
            some = every[: len(every) // 4] if size == 1 else every
            batches = [some[i : i + size] for i in range(0, len(some), size)]
            for side in _SIDES:
                sides[side].run(batches[:3])  # warm
            for side in _SIDES:
                times[kind, size, side] = Times([[] for _ in range(rounds)])
            turns = itertools.product(range(rounds), _turns(batches), _SIDES)
            for number, part, side in turns:
                key = (kind, size, side)
                seconds, answer, peak = sides[side].run(part)
                times[key].rounds[number] += seconds
                answers[key], peaks[side] = answer, peak
            for side in _SIDES:
                found = times[kind, size, side].percentile(0.5)
                print(f"{kind}, {size}, {side}: {found:.1f}", file=sys.stderr)
    for process in sides.values():
        process.close()
    return times, peaks, answers


def _turns(batches):
    """A few at a time, so that what else the machine does meets all sides."""
    return [batches[i : i + _TURN] for i in range(0, len(batches), _TURN)]


def _report(size, times, peaks, answers) -> str:
    lines = [
        f"{size}:\n",
        "| texts | batch | side | p50 ms | p99 ms | texts/s "
        "| kbert's times as fast | in the rounds | difference |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (kind, batch, side), found in times.items():
        own = times[kind, batch, "kbert"]
        ratios = own.ratios(found)
        rate = statistics.median(
            batch * len(seconds) / sum(seconds) for seconds in found.rounds
        )
        difference = "-"
        if side not in ("kbert", "products"):
            a, b = answers[kind, batch, "kbert"], answers[kind, batch, side]
            difference = f"{_difference(a, b):.1e}"
        lines.append(
            f"| {kind} | {batch} | {side} | {found.percentile(0.5):.1f} "
            f"| {found.percentile(0.99):.1f} | {rate:.0f} "
            f"| {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} | {difference} |"
        )
    lines += ["", "| side | peak MiB |", "|---|---:|"]
    lines += [f"| {side} | {peaks[side]:,.0f} |" for side in _SIDES]
    return "\n".join([*lines, ""])


def _difference(a: list[list[float]], b: list[list[float]]) -> float:
    """max|a - b| / max|b|."""
    pairs = [
        (x, y)
        for p, q in zip(a, b, strict=True)
        for x, y in zip(p, q, strict=True)
    ]
    return max(abs(x - y) for x, y in pairs) / max(abs(y) for _, y in pairs)


if __name__ == "__main__":
    main()
