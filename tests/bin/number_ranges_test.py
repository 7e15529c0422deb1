# SPDX-License-Identifier: Apache-2.0
"""Numbers of flags that no command can use are refused, and named."""

import pathlib

import pytest
from absl import flags

from kbert import limits, options, tasks
from kbert.bin import number_ranges
from kbert.runs.mining_config import MiningConfig
from kbert.training.config import FinetuneConfig, PretrainConfig


@pytest.fixture
def given(monkeypatch):
    """Gives flags, in a set that has no others."""

    def given(kind, **values):
        ours = flags.FlagValues()
        for name, value in values.items():
            kind(name, value, "", flag_values=ours)
        ours.mark_as_parsed()
        monkeypatch.setattr(number_ranges.flags, "FLAGS", ours)
        number_ranges.check()

    return given


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("ema_decay", 1.0, "0 <= x < 1"),
        ("clip_norm", 0.0, "0 < x"),
        ("learning_rate", 0.0, "0 < x"),
        ("learning_rate", float("nan"), "0 < x"),
        ("weight_decay", float("inf"), "0 <= x"),
        ("dropout", float("nan"), "0 <= x < 1"),
        ("of_another_command", float("nan"), "a finite number"),
        ("of_another_command", float("-inf"), "a finite number"),
    ],
)
def test_a_share_or_rate_that_trains_nothing(name, value, needed, given):
    with pytest.raises(ValueError, match=f"--{name}={value}: needs {needed}"):
        given(flags.DEFINE_float, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vocab_size", 2**64),
        ("vocab_size", 10**9),
        ("vocab_size", 0),
        ("max_seq_length", 10**9),
        ("seed", -1),
        ("seed", 2**32),
        ("num_workers", 10**6),
        ("batch_size", 2**40),
        ("of_another_command", 10**30),
    ],
)
def test_a_count_that_nothing_can_hold(name, value, given):
    with pytest.raises(ValueError, match=f"--{name}={value}: needs "):
        given(flags.DEFINE_integer, **{name: value})


def test_usual_numbers_and_none_are_taken(given):
    given(flags.DEFINE_float, ema_decay=0.999, clip_norm=1e9, dropout=None)
    given(flags.DEFINE_integer, layer=-1, seed=2**32 - 1, vocab_size=30522)


def test_every_range_is_of_a_flag():
    folder = pathlib.Path(str(number_ranges.__file__)).parent
    others = [x for x in folder.glob("*.py") if x.name != "number_ranges.py"]
    text = "".join(file.read_text("utf-8") for file in others)
    classes = [
        *filter(None, map(tasks.settings_class, tasks.FINE_TUNED)),
        *(FinetuneConfig, PretrainConfig, MiningConfig),
    ]
    made = {name for settings in classes for name in options.helps(settings)}
    named = {x for x in limits.RANGES if f'"{x}"' in text} | made
    assert limits.RANGES.keys() <= named
