# SPDX-License-Identifier: Apache-2.0
"""The flags of a task that is to be learned, and the job they become."""

import math

from absl import flags

flags.disclaim_key_flags()  # they belong to the command that calls `define`

_TASKS = (
    *("classification", "regression", "tagging", "question_answering"),
    *("multiple_choice", "summarization"),
)
# What only some tasks have: the fields of their Settings.
_SETTINGS = {
    "multi_label": (
        flags.DEFINE_boolean,
        "classification: a row may have several labels, a|b, or none.",
    ),
    "threshold": (
        flags.DEFINE_float,
        "classification, --multi_label: lowest probability of a row's labels; "
        "by default 0.5. question_answering, --several_answers: likewise of an "
        "answer; else the highest no-answer score of a question that has one, "
        "by default the best on --dev, or 0.",
    ),
    "stride": (
        flags.DEFINE_integer,
        "tagging, question_answering: tokens from the begin of one window of "
        "a text that is longer than a row to the next; by default a half and a "
        "third of --max_seq_length.",
    ),
    "aggregation": (
        flags.DEFINE_string,
        "tagging: how tags become entities. first, by default: a word has the "
        "tag of its first token; simple: each token of a text has its own; "
        "joined: as first, and entities of one type side by side are one.",
    ),
    "max_query_length": (
        flags.DEFINE_integer,
        "question_answering: most tokens of a question; by default 64.",
    ),
    "max_answer_length": (
        flags.DEFINE_integer,
        "question_answering: most tokens of an answer; by default 30.",
    ),
    "several_answers": (
        flags.DEFINE_boolean,
        "question_answering: a question may have several answers, all marked "
        "in the file, or none.",
    ),
    "whole_word_answers": (
        flags.DEFINE_boolean,
        "question_answering: learn an answer that begins or ends inside a "
        "word with all of the word, as by default; scores are of the answers "
        "as they are.",
    ),
    "num_sentences": (
        flags.DEFINE_integer,
        "summarization: sentences of a summary; by default 3.",
    ),
}


def define() -> None:
    """Defines --task and what a task can be told."""
    flags.DEFINE_enum("task", _TASKS[0], _TASKS, "What to learn.")
    flags.DEFINE_integer(
        "max_seq_length",
        128,
        "Most tokens of a row; longer texts are truncated. For "
        "question_answering, which reads them in windows, 384 is usual.",
        lower_bound=3,
    )
    flags.DEFINE_list(
        "labels",
        None,
        "All labels, in their order, some of which --train may lack: a,b,c. "
        "For tagging the types of the entities. By default those of --train.",
    )
    flags.DEFINE_list(
        "class_weights",
        None,
        "How much the rows of each label count in the loss: balanced, or "
        "label:weight,... for all labels.",
    )
    for name, (define_flag, text) in _SETTINGS.items():
        define_flag(name, None, text)


def job(reading):
    """The Job that the flags say.

    Args:
        reading: the fields of JobOptions that say how files are read.
    Raises: ValueError, naming the flag.
    """
    from kbert import tasks
    from kbert.tasks.job import JobOptions

    values = flags.FLAGS
    options = JobOptions(
        **reading,
        max_seq_length=values.max_seq_length,
        labels=values.labels,
        class_weights=_class_weights(values.class_weights),
        settings=_settings(values),
    )
    return tasks.job_class(values.task)(options)


def _class_weights(given):
    """None, "balanced" or a dict."""
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
            f"--class_weights={','.join(given)}: wanted balanced or "
            "label:weight,..., all above 0."
        ) from None


def _settings(values):
    """Those of the task that were given."""
    import dataclasses

    from kbert import tasks

    made = tasks.head(values.task).settings
    names = {field.name for field in dataclasses.fields(made)} if made else ()
    given = {x: values[x].value for x in _SETTINGS}
    given = {name: x for name, x in given.items() if x is not None}
    for name in given:
        if name not in names:
            raise ValueError(f"--{name}: not of --task={values.task}.")
    try:
        if made and given:
            made(**given)
    except ValueError as error:  # which begins with the name
        raise ValueError(f"--{error}") from None
    return given
