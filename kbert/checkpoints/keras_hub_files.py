# SPDX-License-Identifier: Apache-2.0
"""The JSON files and the vocabulary of a KerasHub preset.

They are read as data: no class that they name is made, nothing is run.
"""

import dataclasses
import os
import pathlib
from typing import Any

from kbert import json_files
from kbert.checkpoints.foreign import Report, check_vocabulary, task_spec
from kbert.config import BertConfig
from kbert.tasks import TaskSpec
from kbert.text.vocabulary import UNK, Vocabulary, read_tokens

_CONFIG = "config.json"
_TASK, _TASK_WEIGHTS = "task.json", "task.weights.h5"
_TOKENIZER = "tokenizer.json"
_PREPROCESSOR = "preprocessor.json"
_VOCABULARY = "assets/tokenizer/vocabulary.txt"

# Arguments of a BertBackbone -> fields of BertConfig.
FIELDS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
}
# What KerasHub's code has, and no argument changes.
ENCODER = {
    "hidden_act": "gelu",
    "layer_norm_epsilon": 1e-12,
    "position_embedding": "learned",
}
MASKED_LM = {"mlm_hidden_act": "gelu_erf", "mlm_layer_norm_epsilon": 1e-5}

_DTYPES = ("float32", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")

# What no argument changes: KerasHub folds case and cleans text otherwise.
OTHER_CLEANING = (
    "KerasHub's tokenizer reads some characters otherwise than the published "
    "one, whose tokens kbert has: ß, ligatures, fractions, invisible ones."
)
# What kbert's tokenizer has only with this value.
_TOKENIZER_MUST_BE = {
    "split": True,
    "split_on_cjk": True,
    "suffix_indicator": "##",
    "oov_token": UNK,
    "special_tokens_in_strings": False,
}

_TASKS = {
    "BertMaskedLM": "masked_lm",
    "BertTextClassifier": "classification",
    "BertClassifier": "classification",  # its older name
}


def read_files(
    folder: pathlib.Path, lower_case: bool | None, report: Report
) -> tuple[BertConfig, Vocabulary, TaskSpec]:
    """Reads all of a preset but its weights.

    Args:
        folder: of the preset.
        lower_case: the casing; it may not contradict tokenizer.json.
        report: told what kbert has no place for.
    Raises: ValueError, naming the file and the field; OSError.
    """
    fields = _read_object(folder / _CONFIG, ("BertBackbone",))
    vocabulary = _read_vocabulary(folder, lower_case, report)
    task, head = _read_task(folder, report)
    config = _read_config(folder / _CONFIG, fields, vocabulary, task)
    check_vocabulary(
        vocabulary,
        config.vocab_size,
        where=folder / _VOCABULARY,
        report=report,
    )
    return config, vocabulary, _spec(folder, task, head, config, report)


def _read_config(path, fields, vocabulary, task) -> BertConfig:
    dtype = fields.get("dtype")
    if isinstance(dtype, dict) and isinstance(dtype.get("config"), dict):
        dtype = dtype["config"].get("name")
    if dtype is not None and dtype not in _DTYPES:
        raise ValueError(
            f"{path}: dtype is {dtype!r}; wanted one of {', '.join(_DTYPES)}."
        )
    if missing := sorted(FIELDS.keys() - fields.keys()):
        raise ValueError(f"{path}: fields {missing} are missing.")
    known = {*FIELDS, "name", "trainable", "dtype"}
    if unknown := sorted(fields.keys() - known):
        raise ValueError(f"{path}: unknown fields {unknown}.")
    ours = {ours: fields[theirs] for theirs, ours in FIELDS.items()}
    try:
        return BertConfig(
            lower_case=vocabulary.lower_case,
            attention_probs_dropout_prob=ours["hidden_dropout_prob"],
            **ours,
            **ENCODER,
            **(MASKED_LM if task == "masked_lm" else {}),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_vocabulary(folder, lower_case, report) -> Vocabulary:
    path = folder / _TOKENIZER
    fields = _read_object(path, ("BertTokenizer",))
    for name, wanted in _TOKENIZER_MUST_BE.items():
        if fields.get(name, wanted) != wanted:
            raise ValueError(
                f"{path}: {name} is {fields[name]!r}; kbert's tokenizer has "
                f"{wanted!r}."
            )
    casing = {n: fields.get(n, False) for n in ("lowercase", "strip_accents")}
    for name, value in casing.items():
        if type(value) is not bool:
            raise ValueError(f"{path}: {name} is {value!r}; wanted bool.")
    if lower_case not in (None, casing["lowercase"]):
        raise ValueError(
            f"{path}: lowercase is {casing['lowercase']}, but --lower_case is "
            f"{lower_case}."
        )
    tokens = read_tokens(folder / _VOCABULARY, report)
    try:
        return Vocabulary(tokens, casing["lowercase"], casing["strip_accents"])
    except ValueError as error:
        raise ValueError(f"{folder / _VOCABULARY}: {error}") from None


def _read_task(folder, report) -> tuple[str, dict[str, Any]]:
    """What kbert calls the task, and the arguments of KerasHub's model."""
    path = folder / _TASK
    if not os.path.lexists(path):
        if (folder / _TASK_WEIGHTS).is_file():
            report(f"No {_TASK}: the head in {_TASK_WEIGHTS} is left out.")
        return "encoder", {}
    name = json_files.read(path).get("class_name")
    if name not in tuple(_TASKS):
        report(f"{_TASK}: {name} is not supported: only its encoder is read.")
        return "encoder", {}
    return _TASKS[name], _read_object(path, _TASKS)


def _spec(folder, task, head, config, report) -> TaskSpec:
    labels, settings = (), None
    if task == "classification":
        labels = _labels(folder / _TASK, head, report)
        settings = {"multi_label": _activation(head) == "sigmoid"}
        rate = config.hidden_dropout_prob
        if head.get("dropout", rate) != rate:
            report(f"{_TASK}: dropout is {head['dropout']}; kbert's is {rate}.")
    try:
        spec = task_spec(task, config, labels)
        spec = dataclasses.replace(spec, settings=settings or spec.settings)
    except ValueError as error:
        raise ValueError(f"{folder / _TASK}: {error}") from None
    preprocessor = folder / _PREPROCESSOR
    if os.path.lexists(preprocessor):
        fields = json_files.read(preprocessor).get("config")
        length = isinstance(fields, dict) and fields.get("sequence_length")
        if type(length) is int and 3 <= length < spec.max_seq_length:
            spec = dataclasses.replace(spec, max_seq_length=length)
    return spec


def _labels(path, head, report) -> list[str]:
    count, activation = head.get("num_classes"), _activation(head)
    if activation not in ("linear", "softmax", "sigmoid"):
        raise ValueError(
            f"{path}: activation is {activation!r}; needs linear, softmax or "
            "sigmoid."
        )
    if type(count) is not int or not 2 <= count <= 10**6:
        raise ValueError(f"{path}: num_classes is {count!r}; wanted 2 or more.")
    if activation != "linear":
        report(f"The logits are what goes into the preset's {activation}.")
    report(f"{count} classes without names: they are called by their numbers.")
    return [str(index) for index in range(count)]


def _activation(head):
    return head.get("activation") or "linear"


def _read_object(path: pathlib.Path, classes) -> dict[str, Any]:
    """The arguments of an object that Keras has written to a JSON file."""
    if not path.is_file():
        raise ValueError(
            f"{path.parent}: no {path.name}; wanted a KerasHub preset, with "
            f"{_CONFIG}, model.weights.h5, {_TOKENIZER} and {_VOCABULARY}."
        )
    written = json_files.read(path)
    if "model_type" in written:
        raise ValueError(
            f"{path}: of a Hugging Face model, which is read with "
            "--from=huggingface."
        )
    name, fields = written.get("class_name"), written.get("config")
    if name not in tuple(classes):
        raise ValueError(
            f"{path}: class_name is {name!r}; wanted {' or '.join(classes)}."
        )
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: config is {fields!r}; wanted an object.")
    return fields
