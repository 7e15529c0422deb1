# SPDX-License-Identifier: Apache-2.0
"""The settings of a training run: each field is a flag of the same name."""

import dataclasses
from typing import Literal

from kbert.limits import RANGES
from kbert.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings that all training runs have.

    Raises: ValueError, naming the field, for a number out of its range.
    """

    output_dir: str = option(
        "Folder of the run: its model/, checkpoints, TensorBoard logs and "
        "history. A run that was stopped is resumed from its last checkpoint; "
        "SIGTERM and Ctrl-C save one and exit with 75."
    )
    batch_size: int = option(
        "Rows of a step, on all GPUs together. If the data have fewer rows, a "
        "step takes all of them.",
        32,
    )
    accumulate_steps: int = option(
        "Number of parts in which each GPU computes its rows of a step. More "
        "parts need less memory.",
        1,
    )
    optimizer: Literal["adamw", "lamb"] = option(
        "LAMB is for large batches.", "adamw"
    )
    learning_rate: float = option("The highest learning rate.", 5e-5)
    schedule: Literal["linear", "cosine", "constant"] = option(
        "How the learning rate falls after the warm-up: to 0, or not at all.",
        "linear",
    )
    warmup_share: float = option(
        "Share of the steps in which the learning rate rises.", 0.1
    )
    layer_decay: float = option(
        "The learning rate of a block is that of the block above times this. "
        "The heads have the full rate, the embeddings the lowest.",
        1.0,
    )
    ema_decay: float | None = option(
        "Save the exponential moving average of the weights as the trained "
        "model. The average keeps this share of itself at each step.",
        None,
    )
    weight_decay: float = option(
        "Weight decay of all weights but biases and norms.", 0.01
    )
    clip_norm: float = option(
        "Gradients are scaled down to this global norm if theirs is larger.",
        1.0,
    )
    dropout: float | None = option(
        "Dropout of hidden states and attention, in place of the model "
        "config's.",
        None,
    )
    dtype: Literal["float32", "bfloat16", "float16"] = option(
        "Type of the matrix products; all else stays float32.", "float32"
    )
    remat: bool = option(
        "Use less memory: compute each block again for its gradients.", False
    )
    xla: bool = option("Compile the step with XLA, on one device.", False)
    seed: int = option("Seed of weights, dropout and batches.", 0)
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker"] = (
        option(
            "Run on one device, on all GPUs of the machine (without any, on "
            "all logical processors), or on the machines that TF_CONFIG names, "
            "all of which see --output_dir. auto: on all GPUs, or on the "
            "processor.",
            "auto",
        )
    )
    start_timeout: float = option(
        "Seconds to wait for the other workers of TF_CONFIG.", 600.0
    )
    log_every: int = option("Steps between two logs.", 100)
    save_every: int = option("Steps between two checkpoints.", 1000)
    eval_every: int | None = option(
        "Steps between two scores on the validation data, each with a "
        "checkpoint. Without it kbert-finetune scores --dev at the end of each "
        "epoch, kbert-pretrain before and after.",
        None,
    )
    patience: int | None = option(
        "Early stopping: end after this many scores without a better one. The "
        "learning rate falls as if the run continued.",
        None,
    )
    keep: Literal["best", "last"] | None = option(
        "Which step's weights go to model/: by default the best step's, where "
        "the run was scored while it trained, else the last step's.",
        None,
    )
    keep_checkpoints: int = option(
        "How many of the newest checkpoints to keep, in addition to the best.",
        2,
    )
    peak_tflops: float | None = option(
        "What one device can do in --dtype, in 10**12 operations a second "
        "(its data sheet): logs then say which share of it the model uses.",
        None,
    )

    def __post_init__(self):
        """Checks the ranges."""
        for field in dataclasses.fields(self):
            value, limits = getattr(self, field.name), RANGES.get(field.name)
            if limits and value is not None and value not in limits:
                raise ValueError(f"{field.name} is {value}; needs {limits}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TrainConfig):
    """The settings of a fine-tuning run."""

    epochs: int = option("Passes over the training file.", 3)
    freeze_blocks: int | None = option(
        "Do not train the embeddings and this many of the lowest blocks; 0 "
        "freezes the embeddings alone. By default all weights are trained.",
        None,
    )
    metric: str | None = option(
        "The task's score whose highest value tells the best step; or loss, "
        "whose lowest does. By default the task's own, such as accuracy for a "
        "classifier. See --eval_every.",
        None,
    )
    worst: int = option(
        "How many of the worst rows the report's errors.jsonl lists.", 50
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainConfig):
    """The settings of a pre-training run."""

    learning_rate: float = option("The highest learning rate.", 1e-4)
    steps: int = option("Steps of the whole run.", 10000)
