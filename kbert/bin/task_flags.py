# SPDX-License-Identifier: Apache-2.0
"""The flags of a task to train for."""

import math
import typing

from absl import flags

from kbert import options, tasks
from kbert.bin import option_flags

flags.disclaim_key_flags()  # they belong to the command that calls `define`


def define() -> None:
    """Defines --task and the settings of tasks."""
    flags.DEFINE_enum(
        "task", "classification", list(tasks.FINE_TUNED), "The task."
    )
    flags.DEFINE_integer(
        "max_seq_length",
        128,
        "Maximum tokens per row; longer texts are truncated. For "
        "question_answering, which splits them into windows, 384 is usual.",
        lower_bound=3,
    )
    flags.DEFINE_list(
        "labels",
        None,
        "All labels in their order, a,b,c; --train may lack some. For tagging "
        "the entity types. By default the labels of --train.",
    )
    flags.DEFINE_list(
        "class_weights",
        None,
        "Weights of the labels in the loss: balanced, or label:weight,... for "
        "all labels.",
    )
    for name, (kind, texts) in _settings_flags().items():
        option_flags.define_unset(name, kind, " ".join(texts))


def _settings_flags() -> dict[str, tuple[type, list[str]]]:
    """Returns, for each setting of any task, its type and its help by task."""
    found = {}
    for task in tasks.FINE_TUNED:
        settings = tasks.settings_class(task)
        if settings is None:
            continue
        types = typing.get_type_hints(settings)  # without their ranges
        for name, text in options.helps(settings).items():
            kind = option_flags.value_type(types[name])
            _, texts = found.setdefault(name, (kind, []))
            texts.append(f"{task}: {text}")
    return found


def data_options(reading):
    """Returns the DataOptions of the flags.

    Args:
        reading: the fields about reading files.
    Raises: ValueError, naming the flag.
    """
    from kbert.tasks.rows import DataOptions

    values = flags.FLAGS
    return DataOptions(
        **reading,
        max_seq_length=values.max_seq_length,
        labels=values.labels,
        class_weights=_class_weights(values.class_weights),
        settings=_settings(values),
    )


def _class_weights(given):
    """Returns None, "balanced" or a dict."""
    if given in (None, ["balanced"]):
        return given and given[0]
    try:
        pairs = [item.rsplit(":", 1) for item in given]
        weights = {label: float(weight) for label, weight in pairs}
        if not all(0 < weight < math.inf for weight in weights.values()):
            raise ValueError
        return weights
    except ValueError:
        raise ValueError(
            f"--class_weights={','.join(given)}: needs balanced or "
            "label:weight,..., all above 0."
        ) from None


def _settings(values):
    """Returns the settings of the task that were given."""
    settings = tasks.settings_class(values.task)
    names = options.helps(settings) if settings else ()
    given = {x: values[x].value for x in _settings_flags()}
    given = {name: x for name, x in given.items() if x is not None}
    for name in given:
        if name not in names:
            raise ValueError(f"--{name}: not of --task={values.task}.")
    if not given:
        return {}
    types = typing.get_type_hints(settings)
    for name, value in given.items():
        try:
            given[name] = option_flags.converted(value, types[name])
        except ValueError:
            raise ValueError(
                f"--{name}={','.join(value)}: needs whole numbers."
            ) from None
    try:
        settings(**given)
    except ValueError as error:  # its message starts with the name
        raise ValueError(f"--{error}") from None
    return given
