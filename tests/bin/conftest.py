# SPDX-License-Identifier: Apache-2.0
"""Runs a command in the test's own process, which has TensorFlow already."""

import importlib
import sys

import pytest
from absl import flags


@pytest.fixture
def call(capsys):
    """Calls a command's main and returns what it prints on stdout.

    Its flags go away again: commands have flags of the same names.
    """

    def call(name, *arguments):
        before = set(flags.FLAGS)
        module = importlib.import_module(f"kbert.bin.{name}")
        try:
            flags.FLAGS([name, *arguments])
            module.main([name])
        finally:
            for flag in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, flag)
            flags.FLAGS.unparse_flags()
            del sys.modules[module.__name__]
        return capsys.readouterr().out

    return call
