# SPDX-License-Identifier: Apache-2.0
"""Times kbert's record writer and Model Garden's, in turn, on the same text.

Model Garden's is tf-models-official's create_pretraining_data, called as its
command does: one process, which holds all in memory. kbert's is make_records
with one process, on one core too, and with two. Each side starts anew for
each round; its time begins after its imports, and ends when all records are
written. Lengths, shares and the number of passes are the same.

kbert has costs that do not grow with the text: it builds its tokenizer and
traces its graphs, in two processes it also starts them. So it is timed on the
text and on the text repeated. The table on standard output is ready for
RESULTS.md:

    python -m benchmarks.make_records --data_dir=DIR

DIR holds pretrain/*.txt, one sentence or paragraph a line and a blank line
between documents, and vocab/bert-base-uncased-vocab.txt.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

_PEER = "Model Garden"
# Side: its processes, and whether the text is repeated.
SIDES = {
    _PEER: (1, False),
    "kbert": (1, False),
    "kbert, repeated text": (1, True),
    "kbert, 2 processes, repeated text": (2, True),
}
_SETTINGS = {
    "max_seq_length": 128,
    "masked_lm_prob": 0.15,
    "short_seq_prob": 0.1,
    "dupe_factor": 1,
}
_PREDICTIONS = 20
_SHARDS = 16
_PACKAGES = ("tensorflow", "tensorflow-text", "tf-models-official")

Measured = dict[str, float]


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(run_side(args.side, args.data_dir, args.repeat)))
        return
    rounds: dict[str, list[Measured]] = {name: [] for name in SIDES}
    for _ in range(args.rounds):
        for name, results in rounds.items():
            results.append(_start(name, args))
            print(f"{name}: {results[-1]}", file=sys.stderr)
    versions = [f"{p} {importlib.metadata.version(p)}" for p in _PACKAGES]
    print(format_report(rounds))
    print(f"\n{args.rounds} rounds, {args.repeat} times the text where it is")
    print(f"repeated; {', '.join(versions)}.")


def _start(side: str, args: argparse.Namespace) -> Measured:
    hidden = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "benchmarks.make_records"]
    command += [f"--data_dir={args.data_dir}", f"--repeat={args.repeat}"]
    done = subprocess.run(
        [*command, f"--side={side}"],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, **hidden, "TF_USE_LEGACY_KERAS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def run_side(side: str, data_dir: pathlib.Path, repeat: int) -> Measured:
    """Writes records in a folder that goes away again.

    Returns: seconds, rows, the peak MB of this process and, for kbert, tokens
        of the text.
    """
    processes, repeated = SIDES[side]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:processes])
    vocab = data_dir / "vocab" / "bert-base-uncased-vocab.txt"
    texts = sorted((data_dir / "pretrain").glob("*.txt"))
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(scratch)
        if repeated:
            content = b"\n\n".join(text.read_bytes() for text in texts)
            texts = [work / "text.txt"]
            with open(texts[0], "wb") as file:
                for _ in range(repeat):
                    file.write(content + b"\n\n")
        if side == _PEER:
            measured = _run_peer(texts, vocab, work)
        else:
            measured = _run_kbert(texts, vocab, work, processes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {**measured, "peak_mb": peak}


def _run_kbert(texts, vocab, work, processes):
    from kbert.data import record_writer, workers
    from kbert.text.vocabulary import Vocabulary

    options = record_writer.RecordOptions(
        **_SETTINGS,
        max_predictions=_PREDICTIONS,
        whole_words=False,
        max_ngram=1,
        next_sentence=True,
        packed=False,
        masked=True,
        num_shards=_SHARDS,
        seed=1,
    )
    start = time.perf_counter()
    counts = record_writer.make_records(
        [str(text) for text in texts],
        work / "records",
        vocabulary=Vocabulary.load(vocab, lower_case=True),
        options=options,
        workers=workers.Workers(processes),
    )["counts"]
    seconds = time.perf_counter() - start
    tokens = counts["corpus_tokens"]
    return {"seconds": seconds, "rows": counts["rows"], "tokens": tokens}


def _run_peer(texts, vocab, work):
    from official.nlp.data import create_pretraining_data as peer
    from official.nlp.tools import tokenization

    start = time.perf_counter()
    tokenizer = tokenization.FullTokenizer(str(vocab), do_lower_case=True)
    instances = peer.create_training_instances(
        [str(text) for text in texts],
        tokenizer,
        peer.get_processor_text_fn(False, True),
        **_SETTINGS,
        max_predictions_per_seq=_PREDICTIONS,
        rng=random.Random(1),
    )
    peer.write_instance_to_example_files(
        instances,
        tokenizer,
        _SETTINGS["max_seq_length"],
        _PREDICTIONS,
        [str(work / f"{number}.tfrecord") for number in range(_SHARDS)],
        gzip_compress=False,
        use_v2_feature_names=False,
    )
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "rows": len(instances)}


def summarize(rounds: dict[str, list[Measured]]) -> dict[str, Measured]:
    """Medians over the rounds, and the speed over Model Garden's.

    Its tokens are those that kbert counts in the same text.
    """
    tokens = rounds["kbert"][0]["tokens"]
    rates = {
        name: statistics.median(
            result.get("tokens", tokens) / result["seconds"]
            for result in results
        )
        for name, results in rounds.items()
    }
    return {
        name: {
            "tokens": results[0].get("tokens", tokens),
            "rows": results[0]["rows"],
            "seconds": statistics.median(r["seconds"] for r in results),
            "rate": rates[name],
            "ratio": rates[name] / rates[_PEER],
            "peak_mb": statistics.median(r["peak_mb"] for r in results),
        }
        for name, results in rounds.items()
    }


def format_report(rounds: dict[str, list[Measured]]) -> str:
    """A Markdown table, one line for each side."""
    lines = [
        "| side | M tokens | rows | s | tokens/s | times as fast | peak MB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, result in summarize(rounds).items():
        lines.append(
            f"| {name} | {result['tokens'] / 1e6:.2f} | {result['rows']:,} | "
            f"{result['seconds']:.1f} | {result['rate']:,.0f} | "
            f"{result['ratio']:.1f} | {result['peak_mb']:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
