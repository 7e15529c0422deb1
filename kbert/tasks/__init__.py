# SPDX-License-Identifier: Apache-2.0
"""What a model was trained for, and the functional model that does it.

Each task with a head of its own is one file here: its head on an encoder,
its loss, its decoding and its metric.
"""

import dataclasses

import keras

from kbert import features
from kbert.config import BertConfig
from kbert.models import build_encoder, build_pretrainer
from kbert.tasks.classification import build_classifier


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """The head of a model and what text goes in: the fields of task.json.

    Attributes:
        task: "encoder", "pretraining", "masked_lm" and "next_sentence" for
            one output of pre-training, or "classification".
        max_seq_length: most tokens a row may have, [CLS] and [SEP] counted.
        labels: names of the classes, in the order of the logits.
        num_texts: texts in an example, 1 or 2.
    Raises: ValueError, naming the field.
    """

    task: str
    max_seq_length: int
    labels: tuple[str, ...] = ()
    num_texts: int = 1

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        if self.task not in tuple(TASKS):  # it may be no string
            raise ValueError(
                f"task is {self.task!r}; wanted one of {sorted(TASKS)}."
            )
        if type(self.max_seq_length) is not int or self.max_seq_length < 3:
            raise ValueError(
                f"max_seq_length is {self.max_seq_length!r}; wanted a whole "
                "number, 3 or more."
            )
        if self.num_texts not in (1, 2):
            raise ValueError(f"num_texts is {self.num_texts!r}; wanted 1 or 2.")
        if self.task == "classification" and len(self.labels) < 2:
            raise ValueError(
                f"labels are {list(self.labels)}; wanted two or more."
            )
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels {list(self.labels)} repeat a name.")


def build(config: BertConfig, spec: TaskSpec) -> keras.Model:
    """The untrained functional model of a task."""
    return TASKS[spec.task](config, spec)


TASKS = {
    "encoder": lambda config, spec: build_encoder(config),
    "pretraining": lambda config, spec: build_pretrainer(config),
    "masked_lm": lambda config, spec: build_pretrainer(
        config, [features.MLM_LOGITS]
    ),
    "next_sentence": lambda config, spec: build_pretrainer(
        config, [features.NSP_LOGITS]
    ),
    "classification": lambda config, spec: build_classifier(
        config, num_classes=len(spec.labels)
    ),
}
