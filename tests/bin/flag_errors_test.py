# SPDX-License-Identifier: Apache-2.0
"""Flags that are missing, mistyped, or another library's."""

import importlib
import sys

import pytest
from absl import flags

from kbert.bin import flag_errors


@pytest.fixture
def described():
    """What a command says of some flags."""
    before = set(flags.FLAGS)

    def described(command, *given):
        module = importlib.import_module(f"kbert.bin.{command}")
        try:
            with pytest.raises(flags.Error) as info:
                flags.FLAGS([command, *given])
            return flag_errors.describe(info.value)
        finally:
            for flag in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, flag)
            flags.FLAGS.unparse_flags()
            del sys.modules[module.__name__]

    return described


def test_all_missing_flags_are_named_at_once(described):
    assert described("finetune") == (
        "needs --train=..., --init=... and --output_dir=...; see --help."
    )
    assert described("finetune", "--init=a", "--train=b") == (
        "needs --output_dir=...; see --help."
    )


@pytest.mark.parametrize(
    ("command", "given", "meant"),
    [
        ("finetune", "num_train_epochs", "--epochs"),
        ("finetune", "per_device_train_batch_size", "--batch_size"),
        ("finetune", "model_name_or_path", "--init"),
        ("finetune", "validation_file", "--dev"),
        ("finetune", "train_file", "--train"),
        ("finetune", "max_length", "--max_seq_length"),
        ("finetune", "fp16", "--dtype"),
        ("finetune", "save_total_limit", "--keep_checkpoints"),
        ("finetune", "text_column_name", "--text_columns"),
        ("finetune", "learning-rate", "--learning_rate"),
        ("finetune", "Epochs", "--epochs"),
        ("finetune", "lerning_rate", "--learning_rate"),
        ("pretrain", "num_train_steps", "--steps"),
        ("pretrain", "bert_config_file", "--model_config"),
        ("pretrain", "max_predictions_per_seq", "--max_predictions"),
        ("predict", "model_name_or_path", "--model"),
        ("predict", "init_checkpoint", "--model"),
        ("make_vocab", "vocab-size", "--vocab_size"),
    ],
)
def test_a_flag_is_suggested(described, command, given, meant):
    assert described(command, f"--{given}=1") == (
        f"unknown flag --{given}; did you mean {meant}? --help lists all."
    )


def test_what_no_flag_is_like_has_no_suggestion(described):
    assert described("finetune", "--xyzzy") == (
        "unknown flag --xyzzy; see --help."
    )
    # Of another command: epochs are no way to pre-train.
    assert "epochs" not in described("pretrain", "--num_train_epochs=3")[30:]


def test_a_bad_value_keeps_absls_words(described):
    assert described("finetune", "--batch_size=x").startswith(
        "flag --batch_size=x: "
    )
