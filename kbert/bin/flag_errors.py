# SPDX-License-Identifier: Apache-2.0
"""Formats errors about missing and unknown flags."""

import difflib
import re
from collections.abc import Collection
from typing import Any

from absl import flags

_MISSING = re.compile(r"Flag --(\w+) must have a value other than None\.")
# Names in transformers and google-research/bert for kbert's flags.
_OTHER_NAMES = {
    "output_dir": ("output", "out_dir", "export_dir", "save_path"),
    "epochs": ("num_train_epochs", "n_epochs", "num_epochs"),
    "steps": ("max_steps", "num_train_steps", "train_steps"),
    "batch_size": (
        *("per_device_train_batch_size", "per_device_eval_batch_size"),
        *("train_batch_size", "eval_batch_size", "predict_batch_size", "bs"),
    ),
    "accumulate_steps": ("gradient_accumulation_steps",),
    "learning_rate": ("lr", "init_lr", "peak_lr"),
    "schedule": ("lr_scheduler_type", "lr_scheduler", "scheduler"),
    "warmup_share": (
        *("warmup_ratio", "warmup_proportion", "warmup_steps"),
        "num_warmup_steps",
    ),
    "optimizer": ("optim",),
    "weight_decay": ("weight_decay_rate", "wd"),
    "clip_norm": ("max_grad_norm", "gradient_clip_val", "global_clipnorm"),
    "dropout": (
        *("hidden_dropout_prob", "attention_probs_dropout_prob"),
        *("dropout_rate", "classifier_dropout"),
    ),
    "dtype": ("fp16", "bf16", "mixed_precision", "torch_dtype", "precision"),
    "remat": ("gradient_checkpointing",),
    "xla": ("torch_compile", "use_xla", "jit_compile"),
    "seed": ("data_seed", "random_seed"),
    "strategy": ("distribution_strategy", "use_tpu", "num_gpus"),
    "log_every": ("logging_steps", "log_steps"),
    "save_every": ("save_steps", "save_checkpoints_steps", "save_strategy"),
    "eval_every": (
        *("eval_steps", "eval_strategy", "evaluation_strategy"),
        "validation_steps",
    ),
    "keep_checkpoints": ("save_total_limit", "keep_checkpoint_max"),
    "keep": ("load_best_model_at_end",),
    "patience": ("early_stopping_patience", "early_stopping"),
    "metric": ("metric_for_best_model", "metric_name"),
    "init": (
        *("model_name_or_path", "init_checkpoint", "checkpoint", "model"),
        *("resume_from_checkpoint", "pretrained_model", "model_name"),
    ),
    "model": ("model_name_or_path", "init_checkpoint", "checkpoint", "init"),
    "model_config": ("bert_config_file", "config_name", "config"),
    "train": ("train_file", "training_file", "train_data", "input"),
    "dev": (
        *("validation_file", "dev_file", "eval_file", "predict_file"),
        *("valid", "validation", "eval", "test", "test_file", "eval_data"),
    ),
    "input": ("input_file", "test_file", "predict_file", "train_file"),
    "vocab": ("vocab_file", "tokenizer_name"),
    "lower_case": ("do_lower_case",),
    "max_seq_length": (
        *("max_length", "max_seq_len", "max_source_length", "seq_length"),
        *("block_size", "model_max_length"),
    ),
    "stride": ("doc_stride",),
    "max_predictions": ("max_predictions_per_seq",),
    "masked_lm_prob": ("mlm_probability",),
    "whole_words": ("do_whole_word_mask", "whole_word_mask"),
    "task": ("task_name", "pipeline"),
    "text_columns": ("text_column_name", "text_column_names", "text_column"),
    "label_column": ("label_column_name", "label_names"),
    "layer_decay": ("layer_decay_rate", "llrd"),
    "freeze_blocks": ("freeze_layers", "num_frozen_layers"),
    "n_best": ("n_best_size", "top_k"),
}


def describe(error: Any) -> str:
    """Describes a parsing error: all missing flags, or a suggestion.

    Args:
        error: an exception of absl; other messages are kept.
    """
    if isinstance(error, flags.UnrecognizedFlagError):
        return _unknown(error.flagname)
    if missing := list(dict.fromkeys(_MISSING.findall(str(error)))):
        return f"needs {_joined([f'--{x}=...' for x in missing])}; see --help."
    return str(error)


def _unknown(name):
    known = [x for x in flags.FLAGS if len(x) > 1]
    found = suggestions(name, known)
    text = f"unknown flag --{name}"
    if found:
        text += f"; did you mean {' or '.join(f'--{x}' for x in found)}?"
    return f"{text} --help lists all." if found else f"{text}; see --help."


def suggestions(name: str, known: Collection[str]) -> list[str]:
    """Returns up to two flags that may have been meant.

    Args:
        name: the unknown flag.
        known: all flags of the command.
    """
    name = name.replace("-", "_").lower()
    if name in known:  # only case or dashes differ
        return [name]
    same = [x for x, others in _OTHER_NAMES.items() if name in others]
    same = [x for x in same if x in known]
    return same or difflib.get_close_matches(name, known, n=2, cutoff=0.75)


def _joined(names):
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last
