# SPDX-License-Identifier: Apache-2.0
"""Callbacks of the commands' training loop."""

from collections.abc import Iterable, Mapping


class Callback:
    """Is called by `loop.fit` while a run trains; each method does nothing.

    As with several processes each has its own, a callback that prints or
    writes belongs on the chief alone.
    """

    def on_message(self, line: str) -> None:
        """Takes a line for the user."""

    def on_train_begin(self, step: int) -> None:
        """Is called before the first step, if any steps are left.

        Args:
            step: the number of steps that are done.
        """

    def on_step_end(self, step: int) -> None:
        """Is called after each step."""

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the values of a log, which history.jsonl has by now."""

    def on_validation(
        self, step: int, scores: Mapping[str, float], seconds: float
    ) -> None:
        """Takes the validation scores of a step and how long they took."""

    def on_train_end(self, step: int) -> None:
        """Is called when `fit` returns, also if no steps were left."""

    def should_stop(self) -> bool:
        """Whether to save a checkpoint and end after the current step."""
        return False


class CallbackList(Callback):
    """Calls several callbacks, in order."""

    def __init__(self, callbacks: Iterable[Callback]):
        self._callbacks = list(callbacks)

    def on_message(self, line):
        for callback in self._callbacks:
            callback.on_message(line)

    def on_train_begin(self, step):
        for callback in self._callbacks:
            callback.on_train_begin(step)

    def on_step_end(self, step):
        for callback in self._callbacks:
            callback.on_step_end(step)

    def on_log(self, step, values):
        for callback in self._callbacks:
            callback.on_log(step, values)

    def on_validation(self, step, scores, seconds):
        for callback in self._callbacks:
            callback.on_validation(step, scores, seconds)

    def on_train_end(self, step):
        for callback in self._callbacks:
            callback.on_train_end(step)

    def should_stop(self):
        return any(callback.should_stop() for callback in self._callbacks)
