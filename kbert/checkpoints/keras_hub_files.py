# SPDX-License-Identifier: Apache-2.0
"""Reads the JSON files and the vocabulary of a KerasHub preset.

They are read as data: no class that they name is instantiated.
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
# Values that KerasHub's code fixes.
ENCODER = {
    "hidden_act": "gelu",
    "layer_norm_epsilon": 1e-12,
    "position_embedding": "learned",
}
MASKED_LM = {"mlm_hidden_act": "gelu_erf", "mlm_layer_norm_epsilon": 1e-5}

_DTYPES = ("float32", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")

OTHER_CLEANING = (
    "KerasHub's tokenizer treats some characters differently than the "
    "published one, which kbert follows: ß, ligatures, fractions, invisible "
    "ones."
)
# Fields of which kbert's tokenizer supports only this value.
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
    "BertClassifier": "classification",  # the former name
}


def read_files(
    folder: pathlib.Path, lower_case: bool | None, report: Report
) -> tuple[BertConfig, Vocabulary, TaskSpec]:
    """Reads a preset except its weights.

    Args:
        folder: the folder of the preset.
        lower_case: the casing; it must not contradict tokenizer.json.
        report: called with each message about what is left out.
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
            f"{path}: dtype is {dtype!r}; needs one of {', '.join(_DTYPES)}."
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
    for name, needed in _TOKENIZER_MUST_BE.items():
        if fields.get(name, needed) != needed:
            raise ValueError(
                f"{path}: {name} is {fields[name]!r}; kbert's tokenizer has "
                f"{needed!r}."
            )
    casing = {n: fields.get(n, False) for n in ("lowercase", "strip_accents")}
    for name, value in casing.items():
        if type(value) is not bool:
            raise ValueError(
                f"{path}: {name} is {value!r}; needs true or false."
            )
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
    """Returns kbert's name of the task, and the arguments of the head."""
    path = folder / _TASK
    if not os.path.lexists(path):
        if (folder / _TASK_WEIGHTS).is_file():
            report(f"No {_TASK}: the head in {_TASK_WEIGHTS} is left out.")
        return "encoder", {}
    name = json_files.read(path).get("class_name")
    if name not in tuple(_TASKS):
        report(f"{_TASK}: {name} is not supported: only the encoder is read.")
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
        raise ValueError(f"{path}: num_classes is {count!r}; needs at least 2.")
    if activation != "linear":
        report(f"The logits are the input of the preset's {activation}.")
    report(f"{count} classes without names: their names are numbers.")
    return [str(index) for index in range(count)]


def _activation(head):
    return head.get("activation") or "linear"


def _read_object(path: pathlib.Path, classes) -> dict[str, Any]:
    """Reads the arguments of an object that Keras wrote to a JSON file."""
    if not path.is_file():
        raise ValueError(
            f"{path.parent}: no {path.name}; needs a KerasHub preset, with "
            f"{_CONFIG}, model.weights.h5, {_TOKENIZER} and {_VOCABULARY}."
        )
    written = json_files.read(path)
    if "model_type" in written:
        raise ValueError(
            f"{path}: a file of a Hugging Face model; use --from=huggingface."
        )
    name, fields = written.get("class_name"), written.get("config")
    if name not in tuple(classes):
        raise ValueError(
            f"{path}: class_name is {name!r}; needs {' or '.join(classes)}."
        )
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: config is {fields!r}; needs an object.")
    return fields
