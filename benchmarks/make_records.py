# SPDX-License-Identifier: Apache-2.0
r"""Times kbert's and Model Garden's record writers, alternately, on one text.

Model Garden's is tf-models-official's create_pretraining_data, called as by its
command: one process, which has everything in memory. kbert's is make_records
with one process, also on one core, and with two. Each side starts a new process
for each round; its time starts after its imports, and ends when all records are
written. Lengths, shares and the number of passes are the same.

kbert has costs that do not grow with the text: it builds its tokenizer and
traces its graphs, in two processes it also starts them. So it is timed on the
text and on the text repeated. Growth is that of the process that grew most,
from when 3 % of the text is read to the end. The table on standard output is
ready for RESULTS.md; Model Garden's growth is not measured, it holds all text:

    python -m benchmarks.make_records --data_dir=DIR

and for a gigabyte, of 10 MB in DIR:

    python -m benchmarks.make_records --data_dir=DIR \
        --sides=kbert_repeated,kbert_repeated_2_processes --repeat=100

DIR holds pretrain/*.txt, one sentence or paragraph a line and a blank line
between documents, and vocab/bert-base-uncased-vocab.txt.
"""

import argparse
import importlib.metadata
import json
import math
import multiprocessing
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

_PEER = "model_garden"
# Side: its processes, and whether the text is repeated.
SIDES = {
    _PEER: (1, False),
    "kbert": (1, False),
    "kbert_repeated": (1, True),
    "kbert_repeated_2_processes": (2, True),
}
_SETTINGS = {
    "max_seq_length": 128,
    "masked_lm_prob": 0.15,
    "short_seq_prob": 0.1,
    "dupe_factor": 1,
}
_PREDICTIONS = 20
_BEGUN = 0.03  # of the text, when all processes have done some of their work
_SHARDS = 16
_PACKAGES = ("tensorflow", "tensorflow-text", "tf-models-official")

Measured = dict[str, float]


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument("--sides", type=_sides, default=",".join(SIDES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(run_side(args.side, args.data_dir, args.repeat)))
        return
    rounds: dict[str, list[Measured]] = {name: [] for name in args.sides}
    for _ in range(args.rounds):
        for name, results in rounds.items():
            results.append(_start(name, args))
            print(f"{name}: {results[-1]}", file=sys.stderr)
    versions = [f"{p} {importlib.metadata.version(p)}" for p in _PACKAGES]
    print(format_report(rounds))
    print(f"\n{args.rounds} rounds, {args.repeat} times the text where it is")
    print(f"repeated; {', '.join(versions)}.")


def _sides(names: str) -> list[str]:
    chosen = names.split(",")
    if unknown := [name for name in chosen if name not in SIDES]:
        raise argparse.ArgumentTypeError(
            f"{unknown} are not among {list(SIDES)}"
        )
    if _PEER in chosen and "kbert" not in chosen:
        raise argparse.ArgumentTypeError(f"{_PEER} needs kbert's tokens")
    return chosen


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
        of the text and the growth in MB.
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
    growth = Growth()
    start = time.perf_counter()
    counts = record_writer.make_records(
        [str(text) for text in texts],
        work / "records",
        vocabulary=Vocabulary.load(vocab, lower_case=True),
        options=options,
        workers=workers.Workers(processes),
        progress=growth,
    )["counts"]
    return {
        "seconds": time.perf_counter() - start,
        "rows": counts["rows"],
        "tokens": counts["corpus_tokens"],
        "growth_mb": growth.megabytes,
    }


class Growth:
    """The memory of this process and its children, at each progress.

    Attributes:
        megabytes: by which the one that grew most has grown.
    """

    def __init__(self):
        self.megabytes = 0.0
        self._first: dict[int, float] = {}

    def __call__(self, step: str, done: int, total: int) -> None:
        """What `make_records` calls with its progress."""
        if not self._first and done < _BEGUN * total:
            return
        children = multiprocessing.active_children()
        for pid in (os.getpid(), *(child.pid for child in children)):
            pages = pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]
            now = int(pages) * resource.getpagesize() / 1e6
            first = self._first.setdefault(pid, now)
            self.megabytes = max(self.megabytes, now - first)


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
    """Medians over the rounds, and the speed over that of the first side.

    Model Garden's tokens are those that kbert counts in the same text.
    """
    tokens = rounds["kbert"][0]["tokens"] if _PEER in rounds else 0
    rates = {
        name: statistics.median(
            result.get("tokens", tokens) / result["seconds"]
            for result in results
        )
        for name, results in rounds.items()
    }
    first = next(iter(rates.values()))
    return {
        name: {
            "tokens": results[0].get("tokens", tokens),
            "rows": results[0]["rows"],
            "seconds": statistics.median(r["seconds"] for r in results),
            "rate": rates[name],
            "ratio": rates[name] / first,
            "peak_mb": statistics.median(r["peak_mb"] for r in results),
            "growth_mb": max(r.get("growth_mb", math.nan) for r in results),
        }
        for name, results in rounds.items()
    }


def format_report(rounds: dict[str, list[Measured]]) -> str:
    """A Markdown table, one line for each side."""
    lines = [
        "| side | M tokens | rows | s | tokens/s | times as fast | peak MB "
        "| growth MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, result in summarize(rounds).items():
        growth = result["growth_mb"]
        lines.append(
            f"| {name} | {result['tokens'] / 1e6:.2f} | {result['rows']:,} | "
            f"{result['seconds']:.1f} | {result['rate']:,.0f} | "
            f"{result['ratio']:.1f} | {result['peak_mb']:,.0f} | "
            f"{'' if math.isnan(growth) else format(growth, ',.0f')} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
