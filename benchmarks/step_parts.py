# SPDX-License-Identifier: Apache-2.0
"""Times what each of kbert's parts saves over Keras's in a pre-training step.

A variant is kbert's step with one part replaced by Keras's. All run alternately
in this process, with the settings of `kbert.process`:

    python -m benchmarks.step_parts --layers=2 --hidden_size=128 --batch=32
"""

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from unittest import mock

os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")

from benchmarks.peers import Steps
from benchmarks.pretrain_batches import Work, make_batches
from benchmarks.pretrain_step import processor
from kbert import process

_BATCHES = 4
_WARM_UP_STEPS = 3


@contextlib.contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextlib.contextmanager
def _whole_last_block() -> Iterator[None]:
    from keras import ops

    from kbert.models import pretrainer

    encode = pretrainer.encode

    def encode_all(config, inputs, positions, packed):
        encoded = encode(config, inputs, packed=packed)
        indices = ops.expand_dims(positions, -1)
        rows = ops.take_along_axis(encoded.sequence, indices, axis=1)
        return encoded._replace(sequence=rows)

    with mock.patch.object(pretrainer, "encode", encode_all):
        yield


@contextlib.contextmanager
def _keras_cross_entropy() -> Iterator[None]:
    import keras

    def cross_entropy(**settings):
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, **settings
        )

    with mock.patch("kbert.training.losses.CrossEntropy", cross_entropy):
        yield


@contextlib.contextmanager
def _optimizer_of_many_kernels() -> Iterator[None]:
    from kbert.training.optimizer import AdamW

    with mock.patch("benchmarks.peers.kbert.FusedAdamW", AdamW):
        yield


VARIANTS = {
    "kbert": _as_it_is,
    "last block for all tokens": _whole_last_block,
    "Keras's cross-entropy": _keras_cross_entropy,
    "AdamW of many kernels": _optimizer_of_many_kernels,
}


def main() -> None:
    """Runs the rounds and prints the table."""
    args = _parse_args()
    work = Work(
        vocab_size=30522,
        layers=args.layers,
        hidden_size=args.hidden_size,
        heads=args.hidden_size // 64,
        batch=args.batch,
        length=128,
        predictions=20,
    )
    process.use_onednn()
    process.keep_freed_memory()
    variants = {name: make(part, work) for name, part in VARIANTS.items()}
    times: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for index in range(args.rounds):
        print(f"round {index + 1} of {args.rounds}", file=sys.stderr)
        first = index % len(names)
        for name in names[first:] + names[:first]:
            times[name] += _milliseconds(variants[name].run, args.steps)
    print(f"{processor()}.\n\n| part | ms a step | ratio to kbert |")
    print("|---|---:|---:|")
    own = statistics.median(times["kbert"])
    for name, steps in times.items():
        median = statistics.median(steps)
        print(f"| {name} | {median:.0f} | {median / own:.2f} |")


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden_size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="in a round")
    return parser.parse_args()


def make(
    part: Callable[[], contextlib.AbstractContextManager], work: Work
) -> Steps:
    """A step with this part, warmed up."""
    with part():
        from benchmarks.peers import kbert

        steps = kbert.make_steps(
            work,
            make_batches(work, count=_BATCHES, seed=1),
            dtype="float32",
            xla=False,
        )
        for index in range(_WARM_UP_STEPS):
            steps.run(index)
    return steps


def _milliseconds(run: Callable[[int], object], count: int) -> list[float]:
    times = []
    for index in range(count):
        start = time.perf_counter()
        run(index % _BATCHES)
        times.append(1e3 * (time.perf_counter() - start))
    return times


if __name__ == "__main__":
    main()
