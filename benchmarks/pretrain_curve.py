# SPDX-License-Identifier: Apache-2.0
"""Compares pre-training with PyTorch's BertForPreTraining on the same batches.

    kbert           as kbert-pretrain
    pytorch         transformers, with logits only at the predicted tokens
    kbert_bfloat16  as kbert-pretrain --dtype=bfloat16

All start from the same weights and train without dropout on the CPU, one after
another. Validation scores are written to OUTPUT_DIR/SIDE.jsonl as they are
computed, the curves to OUTPUT_DIR/curves.png, and a table to standard output.
A side whose file is complete is not run again:

    python -m benchmarks.pretrain_curve --records=DIR --validation=DIR

and in bfloat16 with --sides=kbert,kbert_bfloat16 --steps=500 --score_every=50.
"""

import argparse
import dataclasses
import importlib
import json
import multiprocessing
import os
import pathlib
import sys
from typing import Any

from benchmarks.curve_sides import Task
from benchmarks.pretrain_step import processor
from kbert import process

# A module of curve_sides, and the dtype policy.
SIDES = {
    "kbert": ("kbert", "float32"),
    "pytorch": ("pytorch", "float32"),
    "kbert_bfloat16": ("kbert", "mixed_bfloat16"),
}

Rows = list[dict[str, Any]]


def main() -> None:
    """Runs what is missing, draws the curves and prints the table."""
    args = _parse_args()
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
    output = pathlib.Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    settings = vars(args) | {"start": str(output / "start"), "dtype": "float32"}
    task = Task(**{f.name: settings[f.name] for f in dataclasses.fields(Task)})
    _check_same(output / "settings.json", settings)
    if not (output / "start").exists():
        _in_new_process(_make_start, task, args.model_config)
    curves = {}
    for side in args.sides:
        path = output / f"{side}.jsonl"
        if not path.exists() or _read(path)[-1]["step"] < task.steps:
            _in_new_process(_run, side, task, path)
        curves[side] = _read(path)
    _draw(curves, output / "curves.png")
    print(format_report(curves))


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--records", required=True, help="a folder")
    parser.add_argument("--validation", required=True, help="a folder")
    parser.add_argument("--sides", type=_sides, default="kbert,pytorch")
    parser.add_argument("--output_dir", default="out/pretrain_curve")
    parser.add_argument("--model_config", default="tiny")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--score_every", type=int, default=200)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _sides(names: str) -> list[str]:
    chosen = names.split(",")
    if unknown := [name for name in chosen if name not in SIDES]:
        raise argparse.ArgumentTypeError(
            f"{unknown} are not among {list(SIDES)}"
        )
    return chosen


def _check_same(path: pathlib.Path, settings: dict[str, Any]) -> None:
    """Checks that a folder has only one run, whose sides can be compared."""
    free = {"sides", "output_dir", "start"}
    now = {n: str(v) for n, v in sorted(settings.items()) if n not in free}
    if not path.exists():
        path.write_text(json.dumps(now, indent=2), encoding="utf-8")
    if (earlier := json.loads(path.read_text(encoding="utf-8"))) != now:
        sys.exit(
            f"{path}: {earlier}, but now {now}; give another --output_dir."
        )


def _in_new_process(function, *arguments) -> None:
    """So that no side finds another's memory, threads or seeds."""
    worker = multiprocessing.get_context("spawn").Process(
        target=function, args=arguments
    )
    worker.start()
    worker.join()
    if worker.exitcode:
        sys.exit(f"A side ended with {worker.exitcode}.")


def _make_start(task: Task, model_config: str) -> None:
    """The same random weights as a kbert folder and a Hugging Face one."""
    import keras

    from kbert import tasks
    from kbert.checkpoints import folder, huggingface
    from kbert.config import BertConfig
    from kbert.data import record_sets

    found = record_sets.find(task.records)
    config = BertConfig.from_json(
        model_config,
        vocab_size=len(found.vocabulary),
        lower_case=found.vocabulary.lower_case,
    )
    config = dataclasses.replace(
        config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    spec = tasks.TaskSpec(
        task="pretraining", max_seq_length=found.row.max_seq_length, num_texts=2
    )
    keras.utils.set_random_seed(task.seed)
    loaded = folder.LoadedModel(
        tasks.build(config, spec), config, found.vocabulary, spec
    )
    huggingface.save(loaded, f"{task.start}_hugging_face", report=print)
    folder.save(
        task.start,
        loaded.model,
        config=config,
        vocabulary=found.vocabulary,
        spec=spec,
    )


def _run(side: str, task: Task, path: pathlib.Path) -> None:
    name, dtype = SIDES[side]
    task = dataclasses.replace(task, dtype=dtype)
    if name == "kbert":  # what the command does before it imports TensorFlow
        process.use_onednn()
        process.keep_freed_memory()
    else:
        task = dataclasses.replace(task, start=f"{task.start}_hugging_face")
    module = importlib.import_module(f"benchmarks.curve_sides.{name}")
    with path.open("w", encoding="utf-8") as file:
        for point in module.train(task):
            line = json.dumps(dataclasses.asdict(point))
            print(line, file=file, flush=True)
            print(side, line, file=sys.stderr, flush=True)


def _read(path: pathlib.Path) -> Rows:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _draw(curves: dict[str, Rows], path: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4))
    names = {
        "mlm_loss": "masked-LM loss (nats)",
        "nsp_accuracy": "next-sentence accuracy",
    }
    for axis, (name, label) in zip(axes, names.items(), strict=True):
        for side, rows in curves.items():
            axis.plot(
                [row["step"] for row in rows],
                [row[name] for row in rows],
                label=side,
            )
        axis.set(xlabel="step", ylabel=f"validation {label}")
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    print(path, file=sys.stderr)


def format_report(curves: dict[str, Rows]) -> str:
    """The table for RESULTS.md: the last scores of each side."""
    lines = [
        f"{processor()}.\n",
        "| side | steps | masked-LM loss | accuracy | next-sentence loss "
        "| accuracy | ms a step |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for side, rows in curves.items():
        last = rows[-1]
        lines.append(
            f"| {side} | {last['step']} | {last['mlm_loss']:.4f} "
            f"| {last['mlm_accuracy']:.4f} | {last['nsp_loss']:.4f} "
            f"| {last['nsp_accuracy']:.4f} "
            f"| {1e3 * last['seconds'] / last['step']:.0f} |"
        )
    first, *others = curves
    lines.append("")
    for side in others:
        own, other = ([p["mlm_loss"] for p in curves[s]] for s in (first, side))
        apart = max(abs(b / a - 1) for a, b in zip(own, other, strict=True))
        lines.append(
            f"{first}'s last masked-LM loss is {own[-1] - other[-1]:+.4f} from "
            f"{side}'s; their curves are {apart:.2%} apart at most."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
