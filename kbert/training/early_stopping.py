# SPDX-License-Identifier: Apache-2.0
"""Validation scores during a run: its best step, and early stopping."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import tensorflow as tf

from kbert.training import history, replicas
from kbert.training.callbacks import Callback
from kbert.training.checkpoints import Checkpoints
from kbert.training.config import TrainConfig
from kbert.training.history import History, ValidationPoint


class Scorer(Protocol):
    """Computes validation scores of a model with its current weights.

    Attributes:
        metric: the score whose highest value tells the best step; or "loss",
            the sum of all losses, whose lowest value does.
        data: a name of the validation data, another one for other data.
            Scores are compared only if they have the same name.
    """

    metric: str

    @property
    def data(self) -> str: ...

    def __call__(self) -> Mapping[str, float]: ...


class EarlyStopping:
    """Scores the steps that are due and keeps the checkpoint of the best.

    With several processes only the chief scores and knows the scores. All
    that is known comes from history.jsonl, so a resumed run continues as if it
    had not been stopped.

    Args:
        log: the history of the run, including earlier processes' scores.
        checkpoints: of the run.
        scorer: computes the scores; None for a run without any.
        final_weights: a context in which the model has the weights that it
            would be saved with.
        config: of the run, with eval_every and patience.
        steps: of the whole run.
        callback: takes the scores and the line that says why the run ends.
    """

    def __init__(
        self,
        log: History,
        checkpoints: Checkpoints,
        scorer: Scorer | None,
        *,
        final_weights: Callable[[], AbstractContextManager[None]],
        config: TrainConfig,
        steps: int,
        callback: Callback,
    ):
        self._log = log
        self._checkpoints = checkpoints
        self._scorer = scorer
        self._final_weights = final_weights
        self._every, self._patience = config.eval_every, config.patience
        self._steps = steps
        self._callback = callback
        self._is_chief = tf.distribute.get_strategy().extended.should_checkpoint
        self._keep_best()

    def _keep_best(self):
        best = history.best(self._log.points)
        if best:
            self._checkpoints.keep_best(best.step)

    def is_due(self, step: int) -> bool:
        """Whether a step is to be scored and has no score yet."""
        if not self._scorer or not step or not self._every:
            return False
        if step % self._every and step < self._steps:
            return False
        return all(step != point.step for point in self._points())

    def _points(self):
        """The scores on the same data with the same metric."""
        if not self._scorer:
            return []
        same = (self._scorer.metric, self._scorer.data)
        return [x for x in self._log.points if (x.metric, x.data) == same]

    def score(self, step: int) -> float:
        """Scores the model if it is due.

        Returns: the seconds that it took, which are not training time.
        """
        if not self._scorer or not self._is_chief or not self.is_due(step):
            return 0.0
        start = time.monotonic()
        with self._final_weights():
            scores = self._scorer()
        seconds = time.monotonic() - start
        self._log.log_validation(
            ValidationPoint(
                step, scores, self._scorer.metric, self._scorer.data
            )
        )
        self._keep_best()
        self._callback.on_validation(step, scores, seconds)
        return seconds

    def is_over(self) -> bool:
        """Whether to end the run; if so, a message says why.

        All processes call it after the same steps and get the same result.
        """
        if not self._scorer or not self._patience:
            return False
        points = self._points()
        waited = history.since_best(points)
        over, *_ = replicas.means_over_processes(waited >= self._patience)
        if waited >= self._patience:
            best = history.best(points)
            than = f"{best} of step {best.step:,}" if best else "none at all"
            metric = points[-1].metric.replace("_", " ")
            self._callback.on_message(
                f"step {points[-1].step:,}/{self._steps:,}  early stopping: no "
                f"validation {metric} in {waited} scores is better than {than}"
            )
        return over > 0
