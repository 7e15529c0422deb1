# SPDX-License-Identifier: Apache-2.0
"""A process that works when it is asked, and sleeps otherwise.

Several can so be alive at once while only one computes. Parent and child
speak in lines of JSON: each question has one answer.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any


class AskedProcess:
    """The parent's end.

    Args:
        arguments: of Python, such as ("-m", "benchmarks.serving").
    """

    def __init__(self, *arguments: str):
        hidden = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **hidden, "KERAS_BACKEND": "tensorflow"},
        )

    def ask(self, question: Any) -> Any:
        """Waits for the answer. Raises: OSError if the process ends."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise OSError(f"A side ended with {self._process.wait()}.")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


def questions() -> tuple[Iterator[Any], Callable[[Any], None]]:
    """The child's end: what it is asked, and a function that answers."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries may print

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    return map(json.loads, sys.stdin), answer
