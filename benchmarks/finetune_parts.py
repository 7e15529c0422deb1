# SPDX-License-Identifier: Apache-2.0
"""Times what each optimization of a fine-tuning step saves.

A 6 x 384 encoder with real weights takes steps on the batches of a data set,
as kbert-finetune does on a CPU, and without one optimization at a time. All
variants run alternately in this process, with the settings of
`kbert.process`:

    python -m benchmarks.finetune_parts --data_dir=DIR --sets=CoLA,RTE
"""

import argparse
import functools
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")

import keras
import numpy as np
import tensorflow as tf

from benchmarks import finetune_runs, tasks
from benchmarks.finetune_sides import Run, kbert
from benchmarks.pretrain_step import processor
from benchmarks.task_sets import SETS
from kbert import models, process
from kbert.checkpoints import huggingface
from kbert.data import batching
from kbert.layers import LayerNorm
from kbert.runs.finetuning import training_model

_BATCHES = 40  # different batches, each once per round
_SCHEDULE_STEPS = 1000


def _with_derived_norms(model, used):
    """Replaces the custom gradients of layer norms by TensorFlow's."""
    model = training_model(model, used, xla=False)[0]
    for layer in model._flatten_layers():
        if isinstance(layer, LayerNorm):
            call = functools.partial(LayerNorm.call, layer)
            layer.call = functools.partial(_as_in_inference, call)
    return model


def _as_in_inference(call, rows, training=None):
    del training
    return call(rows)


VARIANTS: dict[str, Callable[[keras.Model, np.ndarray], keras.Model]] = {
    "kbert": lambda model, used: training_model(model, used, xla=False)[0],
    "with padding": lambda model, used: training_model(model, used, xla=True)[
        0
    ],
    "attention in four parts": lambda model, used: models.without_padding(
        models.with_reduced_vocabulary(model, used)[0]
    ),
    "norms' gradients derived": _with_derived_norms,
    "whole token table": lambda model, _: training_model(
        model, None, xla=False
    )[0],
}


def main() -> None:
    """Runs the rounds and prints the table."""
    args = _parse_args()
    process.use_onednn()
    process.keep_freed_memory()
    print(f"{processor()}.\n")
    print("| set | tokens a batch | padding | part | ms a step | to kbert |")
    print("|---|---:|---:|---|---:|---:|")
    for name in args.sets:
        run = tasks.make_run(name, args.data_dir, args.output_dir, seed=0)
        batches, trainers = make(run)
        mask = [inputs["padding_mask"] for inputs, *_ in batches]
        tokens = sum(int(tf.math.count_nonzero(x)) for x in mask)
        padding = 1 - tokens / sum(int(tf.size(x)) for x in mask)
        times: dict[str, list[float]] = {part: [] for part in trainers}
        for index in range(args.rounds + 1):
            print(f"{name}: {index} of {args.rounds}", file=sys.stderr)
            for part, trainer in trainers.items():
                start = time.perf_counter()
                for batch in batches:
                    trainer.train_step(batch)
                seconds = time.perf_counter() - start
                if index:  # the first also warms it up
                    times[part].append(1e3 * seconds / len(batches))
        own = statistics.median(times["kbert"])
        for part, found in times.items():
            median = statistics.median(found)
            print(
                f"| {name} | {tokens / len(batches):.0f} | {padding:.0%} "
                f"| {part} | {median:.0f} | {median / own:.2f} |"
            )


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument(
        "--output_dir", type=pathlib.Path, default=pathlib.Path("out/tasks")
    )
    parser.add_argument(
        "--sets", type=finetune_runs.among(SETS), default=["CoLA", "RTE"]
    )
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def make(run: Run) -> tuple[list, dict]:
    """Returns batches, and a trainer for each variant."""
    encoder = huggingface.load(run.model)
    task, rows = kbert.read(run, encoder)
    examples = task.examples(rows)
    dataset = batching.dataset(
        examples, batch_size=run.batch_size, seed=run.seed
    )
    used = batching.used_token_ids(examples, task.vocabulary)
    trainers = {}
    for part, variant in VARIANTS.items():
        task, _ = kbert.read(run, encoder)
        kbert.build(task, run.seed)
        trainers[part] = kbert.make_trainer(
            variant(task.keras_model, used), task, run, _SCHEDULE_STEPS
        )
        trainers[part].train_step.get_concrete_function(dataset.element_spec)
    return list(dataset.take(_BATCHES)), trainers


if __name__ == "__main__":
    main()
