# SPDX-License-Identifier: Apache-2.0
"""The flags of a training run, and the RunOptions they become."""

import dataclasses
import sys

from absl import flags

flags.disclaim_key_flags()  # they belong to the command that calls `define`


def define(*, batch_size: int, learning_rate: float) -> None:
    """Defines a flag for each field of RunOptions.

    Args:
        batch_size: the command's default.
        learning_rate: likewise.
    """
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder of the run: its model/, checkpoints, TensorBoard logs and "
        "history. A run that was stopped is resumed from its last checkpoint; "
        "SIGTERM and Ctrl-C save one and exit with 75.",
        required=True,
    )
    whole = {
        "batch_size": (
            batch_size,
            "Rows of a step, on all GPUs together; of fewer rows than that, "
            "all of them.",
        ),
        "accumulate_steps": (
            1,
            "Parts in which each GPU takes its rows of a step, to need less "
            "memory.",
        ),
        "log_every": (100, "Steps between two logs."),
        "save_every": (1000, "Steps between two checkpoints."),
        "keep_checkpoints": (2, "How many to keep, the newest and the best."),
    }
    for name, (default, text) in whole.items():
        flags.DEFINE_integer(name, default, text, lower_bound=1)
    flags.DEFINE_integer(
        "eval_every",
        None,
        "Steps between two scores on the validation data, each with a "
        "checkpoint. Without it kbert-finetune scores --dev at the end of each "
        "epoch, kbert-pretrain before and after.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "patience",
        None,
        "End after so many of these scores without a better one. The learning "
        "rate falls as if the run went on.",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "keep",
        None,
        ["best", "last"],
        "Which step's weights go to model/: by default the best one's, where "
        "there are scores from during the run, else the last one's.",
    )
    shares = {
        "warmup_share": (0.1, "Share of the steps in which the rate rises."),
        "dropout": (None, "Dropout, instead of what the model's config says."),
    }
    for name, (default, text) in shares.items():
        flags.DEFINE_float(name, default, text, 0.0, 0.99)
    flags.DEFINE_float(
        "layer_decay",
        1.0,
        "The rate of a block is that of the one above times this; the heads "
        "have the whole rate, the embeddings the lowest.",
        0.01,
        1.0,
    )
    flags.DEFINE_float(
        "ema_decay",
        None,
        "The trained model is the moving average of the weights, which keeps "
        "this share of itself at each step.",
        0.0,
        1.0,
    )
    numbers = {
        "learning_rate": (learning_rate, "The highest."),
        "weight_decay": (0.01, "Of all but biases and norms."),
        "clip_norm": (1.0, "Longest norm of the gradients."),
    }
    for name, (default, text) in numbers.items():
        flags.DEFINE_float(name, default, text, lower_bound=0.0)
    choices = {
        "optimizer": (["adamw", "lamb"], "LAMB is for large batches."),
        "schedule": (
            ["linear", "cosine", "constant"],
            "How the rate falls after the warm-up: to 0, or not at all.",
        ),
        "dtype": (
            ["float32", "bfloat16", "float16"],
            "Type of the matrix products; all else stays float32.",
        ),
    }
    for name, (values, text) in choices.items():
        flags.DEFINE_enum(name, values[0], values, text)
    flags.DEFINE_boolean(
        "remat",
        False,
        "Keep less memory: compute each block again for its gradients.",
    )
    flags.DEFINE_boolean(
        "xla", False, "Compile the step with XLA, on one device."
    )
    _define_devices()
    flags.DEFINE_integer("seed", 0, "Of weights, dropout and batches.")


def _define_devices():
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ["auto", "one_device", "mirrored", "multi_worker"],
        "Run on one device, on all GPUs of the machine (without any, on all "
        "logical processors), or on the machines that TF_CONFIG names, all "
        "of which see --output_dir. auto: on all GPUs, or the processor.",
    )
    flags.DEFINE_float(
        "start_timeout",
        600.0,
        "Seconds to wait for the other workers of TF_CONFIG.",
        lower_bound=0.0,
    )
    flags.DEFINE_float(
        "peak_tflops",
        None,
        "What one device can do in --dtype, in 10**12 operations a second "
        "(its data sheet): logs then say which share of it the model uses.",
        lower_bound=0.001,
    )


def options(command):
    """The RunOptions that the flags say.

    Args:
        command: that runs, such as "finetune".
    """
    from kbert.runs.run import RunOptions

    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    lines = sorted(flag.serialize() for flag in own if flag.value is not None)
    values = {
        field.name: flags.FLAGS[field.name].value
        for field in dataclasses.fields(RunOptions)
        if field.name in flags.FLAGS
    }
    return RunOptions(
        **values,
        command=command,
        settings={flag.name: flag.value for flag in own},
        flags="".join(f"{x}\n" for x in lines),
    )
