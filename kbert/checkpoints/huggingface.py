# SPDX-License-Identifier: Apache-2.0
"""Hugging Face's BERTs, both ways: a folder as `save_pretrained` writes it.

config.json, the weights (safetensors, or a pickle where PyTorch is installed)
and the tokenizer's files. BertModel, BertForPreTraining, BertForMaskedLM,
BertForNextSentencePrediction and BertForSequenceClassification have a task
here; of the others the encoder is read. Tensors have PyTorch's order:
(outputs, inputs).
"""

import dataclasses
import json
import os
import pathlib
from typing import Any

import safetensors.numpy

from kbert import json_files, tasks
from kbert.checkpoints import huggingface_tokenizer, tensor_files
from kbert.checkpoints.folder import LoadedModel, read_licences
from kbert.checkpoints.foreign import (
    Report,
    check_vocabulary,
    new_folder,
    task_spec,
)
from kbert.checkpoints.huggingface_weights import Weights, tensors_of
from kbert.config import BertConfig
from kbert.tasks import TaskSpec
from kbert.text.vocabulary import Vocabulary

_CONFIG = "config.json"

# Fields of config.json -> fields of BertConfig. Those that a file leaves out
# have the same defaults in both libraries.
_FIELDS = {
    **{
        name: name
        for name in (
            *("vocab_size", "hidden_size", "num_hidden_layers"),
            *("num_attention_heads", "intermediate_size"),
            *("hidden_dropout_prob", "attention_probs_dropout_prob"),
            *("max_position_embeddings", "type_vocab_size"),
            *("initializer_range", "tie_word_embeddings"),
        )
    },
    "layer_norm_eps": "layer_norm_epsilon",
}
_ACTIVATIONS = {
    "gelu": "gelu_erf",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
}
# What kbert computes alike only with this value, the default.
_CONFIG_MUST_BE = {
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
}
# Tasks by architecture. Others have heads that kbert has not.
_TASKS = {
    "BertModel": "encoder",
    "BertForPreTraining": "pretraining",
    "BertForMaskedLM": "masked_lm",
    "BertForNextSentencePrediction": "next_sentence",
    "BertForSequenceClassification": "classification",
}
_ARCHITECTURES = {task: name for name, task in _TASKS.items()}


def load(
    path: str | os.PathLike,
    *,
    lower_case: bool | None = None,
    report: Report = lambda line: None,
) -> LoadedModel:
    """Reads a model with its heads, as far as kbert has such.

    Args:
        path: a folder of config.json, weights and a tokenizer.
        lower_case: the casing, if no file says it; it may not contradict one.
        report: called with each line about what was read and left out.
    Raises: ValueError, naming the file, what was found and what was wanted;
        OSError.
    """
    folder = pathlib.Path(path)
    _check_folder(folder)
    fields = _read_fields(folder / _CONFIG)
    vocabulary, max_length = huggingface_tokenizer.read(
        folder, lower_case, report
    )
    config = _config(folder / _CONFIG, fields, vocabulary.lower_case)
    check_vocabulary(vocabulary, config.vocab_size, where=folder, report=report)
    weights = Weights.open(folder)
    weights.check(config)
    try:
        spec = _spec(fields, weights, config, max_length, report)
    except ValueError as error:
        raise ValueError(f"{folder / _CONFIG}: {error}") from None
    model = tasks.build(config, spec)
    optional = ["pooler"] if spec.task == "encoder" else []
    weights.assign(model, config, optional=optional, report=report)
    return LoadedModel(model, config, vocabulary, spec, read_licences(folder))


def _check_folder(folder):
    if not (folder / _CONFIG).is_file():
        found = "a file" if folder.is_file() else f"no {_CONFIG} in it"
        found = found if folder.exists() else "no such folder"
        raise ValueError(
            f"{folder}: {found}; wanted a folder as Hugging Face's "
            "save_pretrained writes it."
        )


def _read_fields(path) -> dict[str, Any]:
    fields = json_files.read(path)
    for name, wanted in _CONFIG_MUST_BE.items():
        if fields.get(name) not in (None, wanted):
            raise ValueError(
                f"{path}: {name} is {fields[name]!r}; wanted {wanted!r}."
            )
    names = fields.get("architectures") or ["BertModel"]
    if not isinstance(names, list) or not isinstance(names[0], str):
        raise ValueError(f"{path}: architectures is {names!r}; wanted names.")
    if "model_type" not in fields and not names[0].startswith("Bert"):
        raise ValueError(f"{path}: {names[0]} is no BERT.")
    if "vocab_size" not in fields:
        raise ValueError(f"{path}: vocab_size is missing.")
    return fields


def _config(path, fields, lower_case) -> BertConfig:
    hidden_act = fields.get("hidden_act", "gelu")
    if hidden_act not in tuple(_ACTIVATIONS):
        raise ValueError(
            f"{path}: hidden_act is {hidden_act!r}; wanted one of "
            f"{sorted(_ACTIVATIONS)}."
        )
    ours = {_FIELDS[name]: fields[name] for name in _FIELDS if name in fields}
    try:
        return BertConfig(
            lower_case=lower_case, hidden_act=_ACTIVATIONS[hidden_act], **ours
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _spec(fields, weights, config, max_length, report) -> TaskSpec:
    """The task whose heads the weights have, and kbert too."""
    architecture = (fields.get("architectures") or ["BertModel"])[0]
    task = _TASKS.get(architecture)
    labels = ()
    if task == "classification":
        labels = _labels(fields, report)
    if task == "classification" and _is_no_choice(fields, labels):
        architecture += " of problem_type regression or multi_label"
        task = None
    if task != "classification":
        labels, stated = (), task
        task = _pretraining_task(stated, weights)
        if stated is None:
            report(
                f"{architecture}: not supported yet: read as {task}, any other "
                "head left out."
            )
    elif fields.get("classifier_dropout") is not None:
        report(
            f"classifier_dropout {fields['classifier_dropout']} is left out: "
            "kbert drops out hidden_dropout_prob there."
        )
    spec = task_spec(task, config, labels)
    longest = min(spec.max_seq_length, max_length or spec.max_seq_length)
    return dataclasses.replace(spec, max_seq_length=longest)


def _pretraining_task(stated, weights: Weights):
    """By the tensors: bert-base-uncased states one head and has both."""
    has_mlm = weights.has_mlm or stated in ("pretraining", "masked_lm")
    has_nsp = weights.has_nsp or stated in ("pretraining", "next_sentence")
    if has_mlm and has_nsp:
        return "pretraining"
    if has_mlm:
        return "masked_lm"
    return "next_sentence" if has_nsp else "encoder"


def _labels(fields, report) -> tuple[str, ...]:
    count = fields.get("num_labels")
    names = fields.get("id2label")
    if names is None:
        names = {str(i): f"LABEL_{i}" for i in range(_count(count or 2))}
    if not isinstance(names, dict) or (
        sorted(names) != sorted(str(i) for i in range(len(names)))
    ):
        raise ValueError(
            f"id2label is {names!r}; wanted a name for each of 0, 1, 2, ..."
        )
    if count is not None and count != len(names):
        report(
            f"id2label names {len(names)} labels, num_labels is {count}: they "
            "are called LABEL_0, LABEL_1, ..."
        )
        names = {str(i): f"LABEL_{i}" for i in range(_count(count))}
    return tuple(str(names[str(i)]) for i in range(len(names)))


def _count(number):
    if type(number) is not int or not 0 < number < 10**6:
        raise ValueError(f"num_labels is {number!r}; wanted a whole number.")
    return number


def _is_no_choice(fields, labels):
    problem = fields.get("problem_type")
    return len(labels) < 2 or problem not in (
        None,
        "single_label_classification",
    )


def save(
    loaded: LoadedModel, path: str | os.PathLike, *, report: Report
) -> None:
    """Writes a folder for `from_pretrained`, complete or not at all.

    config.json, model.safetensors, vocab.txt and tokenizer_config.json, and
    the licences that came with the weights.

    Args:
        loaded: the model.
        path: a new or an empty folder.
        report: called with each line about what the format has no place for.
    Raises: ValueError if there is something at `path` already, or if the
        masked-LM output has an activation or epsilon of its own; OSError.
    """
    config, spec = loaded.config, loaded.spec
    fields = _fields(config, spec, loaded.vocabulary)
    tensors = tensors_of(loaded)
    if spec.task == "classification" and spec.num_texts != 1:
        report(f"{_CONFIG} has no place for num_texts, {spec.num_texts}.")
    with new_folder(path) as folder:
        text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
        (folder / _CONFIG).write_text(text, encoding="utf-8")
        # Hugging Face refuses a file that does not name a framework.
        safetensors.numpy.save_file(
            tensors, folder / tensor_files.SAFETENSORS, {"format": "pt"}
        )
        huggingface_tokenizer.write(
            folder, loaded.vocabulary, spec.max_seq_length
        )
        for name, licence in loaded.licences.items():
            (folder / name).write_bytes(licence)


def _fields(
    config: BertConfig, spec: TaskSpec, vocabulary: Vocabulary
) -> dict[str, Any]:
    if spec.task in ("pretraining", "masked_lm"):
        for name in ("hidden_act", "layer_norm_epsilon"):
            own, shared = getattr(config, f"mlm_{name}"), getattr(config, name)
            if own not in (None, shared):
                raise ValueError(
                    f"mlm_{name} is {own!r}; a Hugging Face model has there "
                    f"what its encoder has, {shared!r}."
                )
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    fields = {
        "architectures": [_ARCHITECTURES[spec.task]],
        "model_type": "bert",
        **{theirs: getattr(config, ours) for theirs, ours in _FIELDS.items()},
        "hidden_act": names[config.hidden_act],
        "pad_token_id": vocabulary.pad_id,
    }
    if spec.labels:
        fields["problem_type"] = "single_label_classification"
        fields["id2label"] = {str(i): x for i, x in enumerate(spec.labels)}
        fields["label2id"] = {x: i for i, x in enumerate(spec.labels)}
    return fields
