# SPDX-License-Identifier: Apache-2.0
"""The tasks: one folder each, and what several of them share.

    settings.py   what a model has besides its labels: also flags
    head.py       HEAD: the functional model and its losses; keras.ops only
    metrics.py    scores, from predictions and labels
    predictor.py  raw text to predictions in one graph
    task.py       the public class: how rows are read, trained on and scored

and the readers of its files, where they are of no other task. A new task is a
new folder and its line in `parts.TASKS`.
"""

from kbert.tasks.parts import (
    FINE_TUNED,
    TASKS,
    head,
    predictor_class,
    settings_class,
    task_class,
)
from kbert.tasks.spec import TaskSpec, build, num_weights, segment_note

__all__ = [
    "FINE_TUNED",
    "TASKS",
    "TaskSpec",
    "build",
    "head",
    "num_weights",
    "predictor_class",
    "segment_note",
    "settings_class",
    "task_class",
]
