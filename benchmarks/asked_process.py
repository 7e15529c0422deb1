# SPDX-License-Identifier: Apache-2.0
"""A child process that works only when it receives a request.

So several can be alive while only one computes. Parent and child exchange
lines of JSON: each request has one answer.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any


class AskedProcess:
    """The process, as the parent uses it.

    Args:
        arguments: Python's arguments, such as ("-m", "benchmarks.serving").
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
        """Sends a request and waits for the answer.

        Raises: OSError if the process ends.
        """
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
    """Returns, in the child, the requests and a function that answers."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries may print

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    return map(json.loads, sys.stdin), answer
