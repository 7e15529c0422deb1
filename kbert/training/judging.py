# SPDX-License-Identifier: Apache-2.0
"""Which step of a run is the best, and when there will be no better one."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import tensorflow as tf

from kbert.training import history, replicas
from kbert.training.checkpoints import Checkpoints
from kbert.training.history import History, Scored
from kbert.training.plan import HeldOut, Plan, Watcher


class Judge:
    """Scores the steps that are due, and has the best's checkpoint kept.

    Of several processes the chief alone scores, and knows what was scored.
    All that is known stands in history.jsonl: a run that was stopped goes on
    as it would have.

    Args:
        told: has the scores, also those of earlier processes.
        checkpoints: of the run.
        held_out: how to score, or None.
        as_trained: while it lasts, the model is as it would end.
        plan: of the run.
        watcher: is told.
    """

    def __init__(
        self,
        told: History,
        checkpoints: Checkpoints,
        held_out: HeldOut | None,
        as_trained: Callable[[], AbstractContextManager[None]],
        plan: Plan,
        watcher: Watcher,
    ):
        self._told = told
        self._checkpoints = checkpoints
        self._held_out = held_out
        self._as_trained = as_trained
        self._plan = plan
        self._watcher = watcher
        self._scores = tf.distribute.get_strategy().extended.should_checkpoint
        self._keep_best()

    def _keep_best(self):
        best = history.best(self._told.scored)
        if best:
            self._checkpoints.keep_best(best.step)

    def is_due(self, step: int) -> bool:
        """Whether a step is to be scored and was not yet."""
        if not self._held_out or not step:
            return False
        if step % self._held_out.every and step < self._plan.steps:
            return False
        return all(step != known.step for known in self._known())

    def _known(self):
        """The scores on this data by this metric."""
        return [x for x in self._told.scored if self._is_alike(x)]

    def _is_alike(self, scored: Scored):
        held_out = self._held_out
        return held_out and (scored.metric, scored.data) == (
            held_out.metric,
            held_out.data,
        )

    def __call__(self, step: int) -> float:
        """Returns the seconds that it took, for they are no training."""
        held_out = self._held_out
        if not held_out or not self._scores or not self.is_due(step):
            return 0.0
        began = time.monotonic()
        with self._as_trained():
            scores = held_out.score()
        seconds = time.monotonic() - began
        self._told.log_held_out(
            Scored(step, scores, held_out.metric, held_out.data)
        )
        self._keep_best()
        self._watcher.scored(step, scores, seconds)
        return seconds

    def is_over(self) -> bool:
        """Whether the plan's patience is at its end, which it says then.

        All processes call it at the same steps, and agree.
        """
        patience = self._plan.patience
        if not patience or not self._held_out:
            return False
        known = self._known()
        waited = history.since_best(known)
        over, *_ = replicas.means_over_processes(waited >= patience)
        if waited >= patience:
            best = history.best(known)
            found = f"{best}, step {best.step:,}'s" if best else "none at all"
            self._watcher.say(
                f"step {known[-1].step:,}/{self._plan.steps:,}  the end: no "
                f"held-out {known[-1].metric.replace('_', ' ')} in "
                f"{waited} scores is better than {found}"
            )
        return over > 0
