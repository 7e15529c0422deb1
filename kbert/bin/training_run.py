# SPDX-License-Identifier: Apache-2.0
"""What kbert-pretrain and kbert-finetune share: a run and its flags."""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable

from absl import flags

flags.disclaim_key_flags()  # they belong to the command that calls `define`

_POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def define(*, batch_size: int, learning_rate: float) -> None:
    """Defines the flags of a training run, with a command's own defaults."""
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder of the run: its model/, checkpoints, TensorBoard logs, "
        "history. A run that was stopped goes on from its last checkpoint.",
        required=True,
    )
    flags.DEFINE_integer(
        "batch_size",
        batch_size,
        "Rows of a step, on all replicas together.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "learning_rate", learning_rate, "Highest rate.", lower_bound=0.0
    )
    flags.DEFINE_float(
        "warmup_share",
        0.1,
        "Share of the steps in which the rate rises; then it falls to 0.",
        lower_bound=0.0,
        upper_bound=0.99,
    )
    flags.DEFINE_float(
        "weight_decay", 0.01, "Of all but biases and norms.", lower_bound=0.0
    )
    flags.DEFINE_float(
        "clip_norm", 1.0, "Longest norm of the gradients.", lower_bound=1e-9
    )
    flags.DEFINE_float(
        "dropout",
        None,
        "Dropout of hidden states and attention, instead of the model's.",
        lower_bound=0.0,
        upper_bound=0.99,
    )
    flags.DEFINE_enum(
        "dtype",
        "float32",
        list(_POLICIES),
        "Type of the matrix products; all else stays float32.",
    )
    flags.DEFINE_integer("seed", 0, "Of weights, dropout and batches.")
    flags.DEFINE_integer(
        "log_every", 100, "Steps between two logs.", lower_bound=1
    )
    flags.DEFINE_integer(
        "save_every", 1000, "Steps between two checkpoints.", lower_bound=1
    )


def begin():
    """Makes output_dir and its flags.txt, sets the seed and the dtype.

    Returns: the tf.distribute strategy to build the model under.
    Raises: ValueError if the replicas do not divide --batch_size; OSError.
    """
    import keras

    from kbert.training import loop

    values = flags.FLAGS
    output = pathlib.Path(values.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    own = values.get_key_flags_for_module(sys.argv[0])
    lines = sorted(flag.serialize() for flag in own if flag.value is not None)
    (output / "flags.txt").write_text("\n".join(lines) + "\n", "utf-8")
    keras.utils.set_random_seed(values.seed)
    keras.config.set_dtype_policy(_POLICIES[values.dtype])
    strategy = loop.strategy()
    if values.batch_size % strategy.num_replicas_in_sync:
        raise ValueError(
            f"--batch_size={values.batch_size} is not divided by the "
            f"{strategy.num_replicas_in_sync} GPUs."
        )
    return strategy


def with_dropout(config):
    """The config with --dropout in it, if that was given."""
    rate = flags.FLAGS.dropout
    if rate is None:
        return config
    return dataclasses.replace(
        config, hidden_dropout_prob=rate, attention_probs_dropout_prob=rate
    )


def train(model, batches_from: Callable, *, steps: int, losses, metrics):
    """Trains the model as the flags say, printing a line for each log."""
    import keras

    from kbert.training import loop
    from kbert.training.fused_adamw import FusedAdamW
    from kbert.training.optimizer import LinearWarmupDecay

    values = flags.FLAGS
    schedule = LinearWarmupDecay(
        values.learning_rate, int(steps * values.warmup_share), steps
    )
    adamw = FusedAdamW(schedule, weight_decay=values.weight_decay)
    if values.dtype == "float16":
        adamw = keras.optimizers.LossScaleOptimizer(adamw)
    trainer = loop.Trainer(
        model,
        losses=losses,
        metrics=metrics,
        optimizer=adamw,
        clip_norm=values.clip_norm,
    )
    loop.fit(
        trainer,
        batches_from,
        steps=steps,
        output_dir=values.output_dir,
        log_every=values.log_every,
        save_every=values.save_every,
        report=_Report(steps),
    )


def tell_fresh(init: str, layers) -> None:
    """Prints which layers --init had no weights for."""
    if layers:
        print(f"{init}: begun with random weights: {', '.join(layers)}")


class _Report:
    """Prints the step, what was measured, the speed and the time left."""

    def __init__(self, steps):
        self._steps = steps
        self._last = (None, time.monotonic())

    def __call__(self, step, values):
        now = time.monotonic()
        last_step, last_time = self._last
        self._last = (step, now)
        line = f"step {step:,}/{self._steps:,}  {describe(values)}"
        if last_step is not None:  # the first steps also compile
            rate = (step - last_step) / (now - last_time)
            left = round((self._steps - step) / rate)
            line += f"  {rate:.1f} steps/s, {left // 60}:{left % 60:02} left"
        print(line, flush=True)


def describe(values) -> str:
    """{"mlm_loss": 6.2, ...} as "mlm loss 6.2000, ..."."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.4f}"
        for name, value in values.items()
    )
