# SPDX-License-Identifier: Apache-2.0
"""The task of a model, and the functional model for it."""

import dataclasses
import os
from typing import TYPE_CHECKING, Annotated, Any

from kbert import json_files
from kbert.config import MAX_SEQ_LENGTH, BertConfig
from kbert.json_files import Range
from kbert.tasks import parts
from kbert.tasks.long_texts import LongTexts
from kbert.window_sizes import WindowSizes

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """The head of a model and what text goes in: the fields of task.json.

    Attributes:
        task: "encoder", "pretraining", "masked_lm" and "next_sentence" for
            one output of pre-training, or another task that has a folder here.
        max_seq_length: most tokens a row may have, [CLS] and [SEP] counted.
        labels: names of the classes, in the order of the logits.
        num_texts: texts in an example, 1 or 2.
        settings: the `Settings` of the task's head.py, or None if it has none.
        text_columns: of the table that it was trained on, if it was one;
            readers take them where no others are named.
        choice_columns: the same, of multiple choice.
        label_column: the same, None where the default is meant.
        embedding: the settings of the encoder that a model of another task
            was fine-tuned from; given None, the default ones.
    Raises: ValueError, naming the field.
    """

    task: str
    max_seq_length: Annotated[int, Range(at_least=3, at_most=MAX_SEQ_LENGTH)]
    labels: tuple[str, ...] = ()
    num_texts: Annotated[int, Range(at_least=1, at_most=2)] = 1
    settings: Any = None
    text_columns: tuple[str, ...] = ()
    choice_columns: tuple[str, ...] = ()
    label_column: str | None = None
    embedding: Any = None

    def __post_init__(self):
        """Checks the fields that a task.json may have wrong."""
        self._check_columns()
        if self.task not in tuple(parts.TASKS):  # it may be no string
            raise ValueError(
                f"task is {self.task!r}; needs one of {sorted(parts.TASKS)}."
            )
        fields = {**vars(self), "labels": list(self.labels)}
        json_files.check(fields, TaskSpec, "")
        if parts.head(self.task).has_labels and len(self.labels) < 2:
            raise ValueError(
                f"labels are {list(self.labels)}; needs two or more."
            )
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels {list(self.labels)} repeat a name.")
        object.__setattr__(self, "settings", self._checked_settings())
        object.__setattr__(self, "embedding", self._checked_embedding())
        if self.windows and self.num_texts != 1:
            raise ValueError(
                "long_texts is 'windows'; needs 'truncate' for pairs."
            )

    @property
    def windows(self) -> WindowSizes | None:
        """The windows in which a text is read; None if it is truncated."""
        if not isinstance(self.settings, LongTexts):
            return None
        return self.settings.windows(self.max_seq_length)

    def to_json(self) -> dict[str, Any]:
        """The fields of task.json: those of windows only where there are any.

        So a model that truncates is one that earlier releases read too.
        """
        found = dataclasses.asdict(self)
        if isinstance(self.settings, LongTexts) and not self.windows:
            names = {field.name for field in dataclasses.fields(LongTexts)}
            kept = {
                name: value
                for name, value in found["settings"].items()
                if name not in names
            }
            found["settings"] = kept or None
        return found

    @property
    def embedding_settings(self) -> Any:
        """How the vectors of its encoder become one of a text."""
        if self.task == "encoder":
            return self.settings
        if self.task != "embedding":
            return self.embedding
        make = parts.head("encoder").settings
        names = [field.name for field in dataclasses.fields(make)]
        return make(**{name: getattr(self.settings, name) for name in names})

    def _check_columns(self):
        for name in ("text_columns", "choice_columns"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or {*map(type, value)} - {
                str
            }:
                raise ValueError(f"{name} is {value!r}; needs a list of names.")
            object.__setattr__(self, name, tuple(value))
        if not isinstance(self.label_column, str | None):
            raise ValueError(
                f"label_column is {self.label_column!r}; needs a name."
            )

    def with_settings(self, **changed: Any) -> "TaskSpec":
        """The same with other values of some settings.

        Raises: ValueError, naming the setting, for one that the task does not
            have, or for a wrong value.
        """
        if not changed:
            return self
        settings: Any = self.settings
        names = [field.name for field in dataclasses.fields(settings or self)]
        for name in changed:
            if settings is None or name not in names:
                raise ValueError(f"{name} is no setting of {self.task!r}.")
        settings = dataclasses.replace(settings, **changed)
        return dataclasses.replace(self, settings=settings)

    def _checked_settings(self):
        """The task's Settings, of the fields of a task.json too."""
        make = parts.head(self.task).settings
        if make is None:
            if self.settings is not None:
                raise ValueError(
                    f"settings are {self.settings!r}; needs none for "
                    f"{self.task!r}."
                )
            return None
        return _checked(self.settings, make, "settings")

    def _checked_embedding(self):
        if self.task not in ("encoder", "embedding"):
            make = parts.head("encoder").settings
            return _checked(self.embedding, make, "embedding")
        if self.embedding is not None:
            raise ValueError(
                f"embedding is {self.embedding!r}; needs none for "
                f"{self.task!r}, whose settings these are."
            )
        return None


def _checked(given, make, name):
    """Settings, of the fields of a task.json too."""
    given = {} if given is None else given
    if isinstance(given, make):
        return given  # which has checked itself
    return make(**json_files.check(given, make, name))


def segment_note(config: BertConfig, spec: TaskSpec) -> str:
    """A note if a model has one segment vector for both texts, else ""."""
    has_segments = spec.num_texts == 2 or parts.head(spec.task).has_pairs
    if config.type_vocab_size > 1 or not has_segments:
        return ""
    return (
        "type_vocab_size is 1: the one segment vector serves both texts of a "
        "row, which only [SEP] tells apart."
    )


def num_weights(config: BertConfig, spec: TaskSpec) -> int:
    """The weights of a model's encoder, and of dense layers of any size."""
    count = config.num_encoder_weights
    if spec.task == "embedding":
        count += spec.settings.num_dense_weights(config.hidden_size)
    return count


def build(config: BertConfig, spec: TaskSpec) -> "keras.Model":
    """The untrained functional model of a task.

    Raises: ValueError if the model does not fit into the machine's memory.
    """
    count = num_weights(config, spec)
    needed = 4 * count
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise ValueError(
            f"The encoder of the config has {count:,} "
            f"weights, {needed / 2**30:,.0f} GiB; this machine has "
            f"{memory / 2**30:,.0f} GiB of memory."
        )
    return parts.head(spec.task).build(config, spec)
