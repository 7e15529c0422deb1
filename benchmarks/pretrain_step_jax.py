# SPDX-License-Identifier: Apache-2.0
r"""Times kbert's pre-training step on JAX and Hugging Face's on PyTorch.

A step is forward, backward, clipping and AdamW, with dropout 0.1, on synthetic
batches that are already on the device. Both compute logits only at the
predicted positions. It needs jax, Keras and numpy; the peer needs torch and
transformers, and is left out if they are missing. The table on standard output
is ready for RESULTS.md:

    python -m benchmarks.pretrain_step_jax --models=base,large \
        --lengths=128,512 --peak_tflops=989
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time

from benchmarks.pretrain_batches import Work, make_batches

# Module in `benchmarks.peers`: the packages that it needs.
SIDES = {
    "kbert_jax": ("keras", "jax"),
    "hugging_face_compiled": ("transformers", "torch"),
}
_MODELS = pathlib.Path(__file__).parents[1] / "configs" / "models"
_VOCAB_SIZE = 30522
_PREDICTED = 0.15  # of a row's tokens
_BATCHES = 4  # different ones, used again and again
_SEED = 1


def main() -> None:
    """Runs each side in a separate process and prints the table."""
    args = _parse_args()
    if args.only:
        _serve(args)
        return
    sides = []
    for name, packages in SIDES.items():
        missing = [p for p in packages if not importlib.util.find_spec(p)]
        if missing:
            print(f"{name}: left out, no {', '.join(missing)}", file=sys.stderr)
        else:
            sides.append(name)
    lines = [
        f"{args.dtype}{', rematerialized' if args.remat else ''}, dropout 0.1; "
        f"the median of {args.rounds} rounds of {args.steps} steps.  ",
        f"{', '.join(_versions(sides))}.",
        "",
        "| model | length | batch | side | ms a step | tokens/s | TFLOP/s "
        "| utilization | loss, step 0 |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for model in args.models.split(","):
        for length in args.lengths.split(","):
            work = make_work(model, int(length), args.tokens // int(length))
            for side in sides:
                result = _run(side, work)
                lines.append(_row(model, work, side, result, args.peak_tflops))
                print(lines[-1], file=sys.stderr)
    print("\n".join(lines))


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", default="base,large", help="by commas")
    parser.add_argument("--lengths", default="128,512", help="by commas")
    parser.add_argument("--tokens", type=int, default=16384, help="of a step")
    parser.add_argument(
        "--dtype",
        choices=["float32", "mixed_bfloat16"],
        default="mixed_bfloat16",
    )
    parser.add_argument(
        "--remat", action="store_true", help="both sides, to save memory"
    )
    parser.add_argument(
        "--peak_tflops", type=float, help="of the device, in that dtype"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # side and work
    return parser.parse_args()


def make_work(model: str, length: int, batch: int) -> Work:
    """The sizes of a step of a model in configs/models."""
    fields = json.loads((_MODELS / f"{model}.json").read_text("utf-8"))
    return Work(
        vocab_size=_VOCAB_SIZE,
        layers=fields["num_hidden_layers"],
        hidden_size=fields["hidden_size"],
        heads=fields["num_attention_heads"],
        batch=batch,
        length=length,
        predictions=math.ceil(_PREDICTED * length),
    )


def model_flops(work: Work) -> float:
    """Floating-point operations that the model asks for in a step.

    Chowdhery et al. 2022, arXiv:2204.02311, appendix B: 6 for each weight of
    a matrix and row that it multiplies, 12 * heads * head width for each
    query and key of a block; nothing for what is computed again. Rows are
    counted where a head reads them: of the last block, the predicted and the
    first ones. What a side computes beyond that, counts as lost. Rows count
    at their full length, where a run's own log leaves padding out.
    """
    H, S, P = work.hidden_size, work.length, work.predictions
    read = P + 1
    weights = (
        (work.layers - 1) * S * 12 * H**2  # projections and feed-forward
        + S * 2 * H**2
        + read * 10 * H**2  # the last block: keys, values
        + P * (H**2 + work.vocab_size * H)
        + H**2
        + 2 * H  # pooler and next sentence
    )
    pairs = (work.layers - 1) * S * S + read * S
    return work.batch * (6 * weights + 12 * H * pairs)


def _run(side: str, work: Work) -> dict:
    """The median of milliseconds, and the first loss, from a new process."""
    task = json.dumps({"side": side, "work": vars(work)})
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, *sys.argv[1:], f"--only={task}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def _serve(args: argparse.Namespace) -> None:
    task = json.loads(args.only)
    work = Work(**task["work"])
    module = importlib.import_module(f"benchmarks.peers.{task['side']}")
    batches = make_batches(work, count=_BATCHES, seed=_SEED)
    steps = module.make_steps(work, batches, dtype=args.dtype, remat=args.remat)
    first = steps.loss(steps.run(0))
    times = []
    for _ in range(1 + args.rounds):
        start = time.perf_counter()
        for i in range(args.steps):
            last = steps.run(i % _BATCHES)
        steps.wait(last)
        times.append(1e3 * (time.perf_counter() - start) / args.steps)
    # The first round also warms up.
    print(json.dumps({"ms": statistics.median(times[1:]), "loss": first}))


def _row(model, work, side, result, peak_tflops) -> str:
    seconds = result["ms"] / 1e3
    tflops = model_flops(work) / seconds / 1e12
    share = f"{tflops / peak_tflops:.1%}" if peak_tflops else "-"
    return (
        f"| {model} | {work.length} | {work.batch} | {side} "
        f"| {result['ms']:.1f} | {work.batch * work.length / seconds:,.0f} "
        f"| {tflops:.2f} | {share} | {result['loss']:.2f} |"
    )


def _versions(sides):
    for side in sides:
        for package in SIDES[side]:
            yield f"{package} {importlib.metadata.version(package)}"


if __name__ == "__main__":
    main()
