# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the fields of a Hugging Face config.json about heads.

Source: transformers 5, models/bert/modeling_bert.py, configuration_utils.py.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kbert import tasks
from kbert.checkpoints.foreign import Report
from kbert.tasks import TaskSpec
from kbert.tasks.tagging import head as tagging_head

# Architectures with id2label, problem_type or kbert's settings.
ARCHITECTURES = {
    "classification": "BertForSequenceClassification",
    "regression": "BertForSequenceClassification",
    "reranking": "BertForSequenceClassification",
    "tagging": "BertForTokenClassification",
    "question_answering": "BertForQuestionAnswering",
    "multiple_choice": "BertForMultipleChoice",
}
_SINGLE, _MULTI, _REGRESSION = (
    *("single_label_classification", "multi_label_classification"),
    "regression",
)
_NUM_CHOICES = "num_choices"  # a field of kbert's; Hugging Face has none
_SWAG_CHOICES = 4
# Fields that a CrossEncoder of sentence-transformers adds to config.json.
_CROSS_ENCODER = (
    "sentence_transformers",
    "sbert_ce_default_activation_function",
)
# Of a reranker -> as such a field names it.
_ACTIVATIONS = {
    "sigmoid": "torch.nn.modules.activation.Sigmoid",
    "none": "torch.nn.modules.linear.Identity",
}


def read(
    architecture: str,
    fields: Mapping[str, Any],
    max_seq_length: int,
    report: Report,
) -> TaskSpec | None:
    """Reads the spec of a head from config.json.

    Args:
        architecture: the class of the model.
        fields: the fields of config.json.
        max_seq_length: the maximum length of the model.
        report: called with each message about assumptions and what is left
            out.
    Returns: the spec, or None for a class that is not one of `ARCHITECTURES`.
    Raises: ValueError, naming the field, if kbert does not have the head.
    """
    readers = {
        "BertForSequenceClassification": _sequence,
        "BertForTokenClassification": _tokens,
        "BertForQuestionAnswering": _answers,
        "BertForMultipleChoice": _choices,
    }
    if architecture not in readers:
        return None
    try:
        spec = readers[architecture](fields, max_seq_length, report)
    except ValueError as error:
        raise ValueError(
            f'{error} To read only the encoder, set "architectures" to '
            '["BertModel"].'
        ) from None
    dropout = fields.get("classifier_dropout")
    if dropout is not None and spec.task != "question_answering":
        report(
            f"classifier_dropout {dropout} is ignored: kbert uses "
            "hidden_dropout_prob."
        )
    return spec


def write(spec: TaskSpec, report: Report) -> dict[str, Any]:
    """Returns the fields of config.json for a head.

    Args:
        spec: the spec of any model.
        report: called with each message about what config.json cannot store.
    """
    for name, value in _lost(spec):
        report(f"config.json has no field for {name}, {value}.")
    fields: dict[str, Any] = {}
    labels = spec.labels
    if spec.task == "classification":
        is_multi = spec.settings.multi_label
        fields["problem_type"] = _MULTI if is_multi else _SINGLE
    if spec.task == "regression":
        fields["problem_type"] = _REGRESSION
        labels = ("LABEL_0",)
    if spec.task == "reranking":
        activation = _ACTIVATIONS[spec.settings.activation]
        fields[_CROSS_ENCODER[0]] = {"activation_fn": activation}
        labels = ("LABEL_0",)
    if spec.task == "multiple_choice":
        fields[_NUM_CHOICES] = spec.settings.num_choices
    if labels:
        fields["id2label"] = {str(i): x for i, x in enumerate(labels)}
        fields["label2id"] = {x: i for i, x in enumerate(labels)}
    return fields


def _lost(spec):
    """Yields settings without a field that differ from kbert's defaults."""
    if spec.task in ("classification", "regression") and spec.num_texts != 1:
        yield "num_texts", spec.num_texts
    settings = dataclasses.asdict(spec.settings) if spec.settings else {}
    kept = ("multi_label", _NUM_CHOICES, "pooling", "normalize", "activation")
    read_again = _settings(spec.task, spec.max_seq_length)
    if spec.task == "classification":
        read_again["threshold"] = 0.5 if settings["multi_label"] else None
    for name, value in settings.items():
        if name not in kept and value != read_again[name]:
            yield name, value


def _settings(task, max_seq_length) -> dict[str, Any]:
    """Returns the default settings of a task."""
    if task == "multiple_choice":  # it has no defaults
        return {}
    settings = tasks.head(task).settings_of(max_seq_length, {})
    return dataclasses.asdict(settings) if settings else {}


def _sequence(fields, max_seq_length, report) -> TaskSpec:
    labels, problem = _labels(fields, report), fields.get("problem_type")
    if problem not in (None, _SINGLE, _MULTI, _REGRESSION):
        raise ValueError(
            f"problem_type is {problem!r}; needs {_SINGLE}, {_MULTI} or "
            f"{_REGRESSION}."
        )
    is_number = problem == _REGRESSION or (problem is None and len(labels) == 1)
    if is_number != (len(labels) == 1):
        raise ValueError(
            f"problem_type is {problem!r} with {len(labels)} labels; kbert "
            "needs one label for a regression, and two or more for classes."
        )
    parts: dict[str, Any] = {"task": "regression"}
    if not is_number:
        settings = {"multi_label": problem == _MULTI}
        parts = {
            "task": "classification",
            "labels": labels,
            "settings": settings,
        }
    if any(fields.get(name) for name in _CROSS_ENCODER):
        report("A CrossEncoder of sentence-transformers: it takes pairs.")
        activation = _activation(fields)
        if is_number:
            parts = {"task": "reranking", "settings": _reranker(activation)}
        else:
            parts["num_texts"] = 2
            if activation not in (None, "Identity"):
                report(f"Its activation {activation} is left out.")
    return TaskSpec(max_seq_length=max_seq_length, **parts)


def _activation(fields) -> str | None:
    """Returns the class of a CrossEncoder's activation, such as "Sigmoid"."""
    new, old = (fields.get(name) for name in _CROSS_ENCODER)
    name = new.get("activation_fn") if isinstance(new, dict) else old
    return None if name is None else str(name).rpartition(".")[2]


def _reranker(activation) -> dict[str, str]:
    """Returns the settings of a CrossEncoder with one label."""
    if activation is None:  # sentence-transformers' default, and kbert's
        return {}
    for ours, theirs in _ACTIVATIONS.items():
        if theirs.endswith(f".{activation}"):
            return {"activation": ours}
    raise ValueError(
        f"The activation of the CrossEncoder is {activation}; kbert needs "
        "Sigmoid or Identity."
    )


def _tokens(fields, max_seq_length, report) -> TaskSpec:
    labels = _labels(fields, report)
    if not tagging_head.mark_entities(labels):
        if any(label.startswith(("B-", "I-")) for label in labels):
            raise ValueError(
                f"id2label has {', '.join(labels)}; kbert needs either tags "
                "such as O, B-x and I-x, or classes of words, not both."
            )
        report(
            "The labels are not entity tags (O, B-x, ...): they are classes of "
            "words."
        )
    return TaskSpec(
        task="tagging",
        max_seq_length=max_seq_length,
        labels=labels,
        settings=_settings("tagging", max_seq_length),
    )


def _answers(fields, max_seq_length, report) -> TaskSpec:
    count = len(_labels(fields, report))
    if count != 2:
        raise ValueError(
            f"id2label has {count} labels; question answering needs 2, start "
            "and end."
        )
    report(
        "Whether questions may have no answer is in no file: no_answer is "
        "false (--no_answer for a model of SQuAD 2.0)."
    )
    return TaskSpec(
        task="question_answering",
        max_seq_length=max_seq_length,
        num_texts=2,
        settings=_settings("question_answering", max_seq_length),
    )


def _choices(fields, max_seq_length, report) -> TaskSpec:
    count = fields.get(_NUM_CHOICES)
    if count is None:
        count = _SWAG_CHOICES
        report(
            f"The number of choices is in no file: {count}, as in SWAG "
            "(--num_choices for another number)."
        )
    return TaskSpec(
        task="multiple_choice",
        max_seq_length=max_seq_length,
        settings={_NUM_CHOICES: count},
    )


def _labels(fields, report) -> tuple[str, ...]:
    count = fields.get("num_labels")
    names = fields.get("id2label")
    if names is None:
        count = 2 if count is None else count
        names = {str(i): f"LABEL_{i}" for i in range(_count(count))}
    if not isinstance(names, dict) or (
        sorted(names) != sorted(str(i) for i in range(len(names)))
    ):
        raise ValueError(
            f"id2label is {names!r}; needs a name for each of 0, 1, 2, ..."
        )
    if count is not None and count != len(names):
        report(
            f"id2label has {len(names)} labels, num_labels is {count}: they "
            "are named LABEL_0, LABEL_1, ..."
        )
        names = {str(i): f"LABEL_{i}" for i in range(_count(count))}
    return tuple(str(names[str(i)]) for i in range(len(names)))


def _count(number):
    if type(number) is not int or not 0 < number < 10**6:
        raise ValueError(f"num_labels is {number!r}; needs a whole number.")
    return number
