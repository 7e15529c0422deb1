# SPDX-License-Identifier: Apache-2.0
"""Times one pre-training step of kbert and of its peers, alternately.

A step is forward, backward, clipping and AdamW, on the CPU, on the same
batches, with dropout 0.1. Each side is a process; they alternate every few
steps for some rounds, so that all run under the same conditions. `products`
computes only the step's matrix products. The table on standard output is ready
for RESULTS.md:

    python -m benchmarks.pretrain_step --layers=2 --hidden_size=128 --batch=32
    python -m benchmarks.pretrain_step --layers=6 --hidden_size=384 --batch=16
    python -m benchmarks.pretrain_step --layers=12 --hidden_size=768 --batch=8
"""

import argparse
import json
import math
import os
import pathlib
import platform
import statistics
import sys
import time

from benchmarks.pretrain_batches import Work
from benchmarks.side_process import Side, SideProcess

_BFLOAT16 = "mixed_bfloat16"
_KBERT = ("tensorflow", "keras")
_KERAS_HUB = (*_KBERT, "keras-hub")
_MODEL_GARDEN = ("tensorflow", "tf-keras", "tf-models-official")
SIDES = {
    "kbert": Side("kbert", _KBERT, tuned=True),
    "kbert_untuned": Side("kbert", _KBERT),
    "kbert_bfloat16": Side("kbert", _KBERT, dtype=_BFLOAT16, tuned=True),
    "keras_hub": Side("keras_hub", _KERAS_HUB),
    "keras_hub_tuned": Side("keras_hub", _KERAS_HUB, tuned=True),
    "keras_hub_bfloat16": Side("keras_hub", _KERAS_HUB, dtype=_BFLOAT16),
    "keras_hub_xla": Side("keras_hub", _KERAS_HUB, xla=True),
    "model_garden": Side("model_garden", _MODEL_GARDEN),
    "model_garden_tuned": Side("model_garden", _MODEL_GARDEN, tuned=True),
    "model_garden_xla": Side("model_garden", _MODEL_GARDEN, xla=True),
    "hugging_face": Side("hugging_face", ("torch", "transformers")),
    "products": Side("products", ("tensorflow",), tuned=True),
}
_PEERS = ("keras_hub", "model_garden", "hugging_face")
_DEFAULT_SIDES = "kbert,kbert_bfloat16," + ",".join(_PEERS) + ",products"
_PAUSE = 0.5  # seconds between sides: worker threads spin a while, then sleep


def main() -> None:
    """Runs the rounds and prints the table."""
    args = _parse_args()
    work = Work(
        vocab_size=args.vocab_size,
        layers=args.layers,
        hidden_size=args.hidden_size,
        heads=args.heads or args.hidden_size // 64,
        batch=args.batch,
        length=args.length,
        predictions=args.predictions,
    )
    processes = {}
    try:
        for name in args.sides:
            print(f"starting {name} ...", file=sys.stderr)
            processes[name] = SideProcess(SIDES[name], work)
        rounds = _run_rounds(processes, args.rounds, args.steps)
    finally:
        for process in processes.values():
            process.close()
    about = {name: process.about for name, process in processes.items()}
    results = summarize(rounds, about)
    print(format_report(results, work, args.rounds, args.steps))
    if args.json:
        content = {
            "command": sys.argv[1:],
            "processor": processor(),
            "work": vars(work),
            "sides": results,
        }
        text = json.dumps(content, indent=2) + "\n"
        pathlib.Path(args.json).write_text(text, encoding="utf-8")


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden_size", type=int, default=128)
    parser.add_argument("--heads", type=int, help="default: hidden_size / 64")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--predictions", type=int, default=20)
    parser.add_argument("--vocab_size", type=int, default=30522)
    parser.add_argument("--sides", type=_sides, default=_DEFAULT_SIDES)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    parser.add_argument("--json", help="file for all numbers")
    return parser.parse_args()


def _sides(names: str) -> list[str]:
    chosen = names.split(",")
    if unknown := [name for name in chosen if name not in SIDES]:
        raise argparse.ArgumentTypeError(
            f"{unknown} are not among {list(SIDES)}"
        )
    return chosen


def _run_rounds(
    processes: dict[str, SideProcess], rounds: int, steps: int
) -> dict[str, list[list[float]]]:
    """Milliseconds per side, round and step; who starts, changes."""
    names = list(processes)
    times = {name: [] for name in names}
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(_PAUSE)
            times[name].append(processes[name].run(steps))
        medians = (
            f"{name} {statistics.median(times[name][-1]):.0f}" for name in names
        )
        print(f"round {index}, ms: {', '.join(medians)}", file=sys.stderr)
    return times


def summarize(
    rounds: dict[str, list[list[float]]], about: dict[str, dict]
) -> dict[str, dict]:
    """Medians, and how many times as fast as the fastest peer a side is."""
    medians = {
        name: [statistics.median(steps) for steps in times]
        for name, times in rounds.items()
    }
    overall = {
        name: statistics.median([ms for steps in times for ms in steps])
        for name, times in rounds.items()
    }
    peers = [name for name in _PEERS if name in rounds] or list(rounds)
    fastest = min(peers, key=overall.__getitem__)
    return {
        name: {
            **about[name],
            "median_ms": overall[name],
            "fastest_peer": fastest,
            "speed": overall[fastest] / overall[name],
            "speed_each_round": [
                peer / own
                for peer, own in zip(
                    medians[fastest], medians[name], strict=True
                )
            ],
            "median_ms_each_round": medians[name],
        }
        for name in rounds
    }


def format_report(
    results: dict[str, dict], work: Work, rounds: int, steps: int
) -> str:
    """The block for RESULTS.md."""
    expected = math.log(work.vocab_size) + math.log(2)
    fastest = next(iter(results.values()))["fastest_peer"]
    lines = [
        f"{work.layers} x {work.hidden_size}, {work.heads} heads, batch "
        f"{work.batch}, length {work.length}, {work.predictions} "
        f"predictions, {work.vocab_size:,} tokens; {rounds} rounds of "
        f"{steps} steps.  ",
        f"{processor()}.  ",
        f"{_versions(results)}.  ",
        f"A model that knows nothing has loss {expected:.2f}.",
        "",
        f"| side | ms a step | times as fast as {fastest} | over the rounds "
        "| loss, step 0 | parameters | peak memory, MB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, result in results.items():
        each, loss = result["speed_each_round"], result["loss"]
        lines.append(
            f"| {name} | {result['median_ms']:.0f} | {result['speed']:.2f} "
            f"| {min(each):.2f} to {max(each):.2f} "
            f"| {'' if math.isnan(loss) else f'{loss:.2f}'} "
            f"| {result['parameters']:,} | {result['peak_mb']:,.0f} |"
        )
    return "\n".join(lines)


def _versions(results: dict[str, dict]) -> str:
    versions = {"Python": platform.python_version()}
    for result in results.values():
        versions.update(result["versions"])
    return ", ".join(f"{name} {value}" for name, value in versions.items())


def processor() -> str:
    """Its name, the cores this process may use, and its widest products."""
    text = ""
    if (file := pathlib.Path("/proc/cpuinfo")).exists():
        text = file.read_text(encoding="utf-8")
    names = [line for line in text.splitlines() if "model name" in line]
    name = names[0].split(":")[1].strip() if names else platform.processor()
    products = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    found = [flag for flag in products if f" {flag} " in text]
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {' '.join(found)}"


if __name__ == "__main__":
    main()
