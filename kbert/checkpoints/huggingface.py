# SPDX-License-Identifier: Apache-2.0
"""Reads and writes Hugging Face's BERT folders, as `save_pretrained` does.

A folder has config.json, the weights (safetensors, or a pickle if PyTorch is
installed) and the tokenizer's files. All BERT classes of transformers have a
task in kbert, except BertLMHeadModel; of other classes the encoder is read,
and the masked-LM head if present. A sentence-transformers folder adds more
files. Kernels have PyTorch's order: (outputs, inputs).
"""

import dataclasses
import json
import os
import pathlib
from typing import Any

import safetensors.numpy

from kbert import json_files, tasks
from kbert.checkpoints import (
    huggingface_heads,
    huggingface_tokenizer,
    sentence_transformers,
    tensor_files,
)
from kbert.checkpoints.folder import LoadedModel, read_licences
from kbert.checkpoints.foreign import (
    Report,
    check_vocabulary,
    new_folder,
    task_spec,
)
from kbert.checkpoints.huggingface_weights import Weights, tensors_of
from kbert.config import Activation, BertConfig
from kbert.tasks import TaskSpec
from kbert.text.vocabulary import Vocabulary

_CONFIG, _ADAPTER = "config.json", "adapter_config.json"

# Fields of config.json -> fields of BertConfig. Their defaults are the same in
# both libraries.
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
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu_erf",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
}
# Fields of which kbert supports only this value, the default.
_CONFIG_MUST_BE = {
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
}
# Tasks of architectures without labels.
_TASKS = {
    "BertModel": "encoder",
    "BertForPreTraining": "pretraining",
    "BertForMaskedLM": "masked_lm",
    "BertForNextSentencePrediction": "next_sentence",
}
_ARCHITECTURES = {
    **{task: name for name, task in _TASKS.items()},
    "embedding": "BertModel",
    **huggingface_heads.ARCHITECTURES,
}


def load(
    path: str | os.PathLike,
    *,
    lower_case: bool | None = None,
    report: Report = lambda line: None,
) -> LoadedModel:
    """Reads a model with the heads that kbert supports.

    Args:
        path: a folder with config.json, weights and a tokenizer, or a
            sentence-transformers folder with modules.json.
        lower_case: the casing, if no file gives it; it must not contradict a
            file.
        report: called with each message about what was read and left out.
    Raises: ValueError, naming the file, what was found and what is needed;
        OSError.
    """
    wrapping = sentence_transformers.read(pathlib.Path(path), report)
    folder = wrapping.transformer
    _check_folder(folder)
    fields = _read_fields(folder / _CONFIG)
    vocabulary, max_length = huggingface_tokenizer.read(
        folder, lower_case, report
    )
    config = _config(folder / _CONFIG, fields, vocabulary.lower_case)
    wrapping.check(config)
    check_vocabulary(vocabulary, config.vocab_size, where=folder, report=report)
    weights = Weights.open(folder, wrapping.tensors)
    weights.check(config)
    try:
        spec = _spec(fields, weights, config, wrapping, max_length, report)
    except ValueError as error:
        raise ValueError(f"{folder / _CONFIG}: {error}") from None
    model = tasks.build(config, spec)
    optional = ["pooler"] if spec.task == "encoder" else []
    weights.assign(model, config, optional=optional, report=report)
    licences = {**read_licences(wrapping.root), **read_licences(folder)}
    return LoadedModel(model, config, vocabulary, spec, licences)


def _check_folder(folder):
    if not (folder / _CONFIG).is_file():
        found = "a file" if folder.is_file() else f"no {_CONFIG} in it"
        found = found if folder.exists() else "no such folder"
        raise ValueError(
            f"{folder}: {found}; needs a folder that Hugging Face's "
            "save_pretrained wrote."
        )
    if (folder / _ADAPTER).is_file():  # transformers adds it to the weights
        raise ValueError(
            f"{folder / _ADAPTER}: an adapter of PEFT, which kbert cannot "
            "represent; merge it into the weights first."
        )


def _read_fields(path) -> dict[str, Any]:
    fields = json_files.read(path)
    for name, needed in _CONFIG_MUST_BE.items():
        if fields.get(name) not in (None, needed):
            raise ValueError(
                f"{path}: {name} is {fields[name]!r}; needs {needed!r}."
            )
    names = fields.get("architectures") or ["BertModel"]
    if not isinstance(names, list) or not isinstance(names[0], str):
        raise ValueError(f"{path}: architectures is {names!r}; needs names.")
    if "model_type" not in fields and not names[0].startswith("Bert"):
        raise ValueError(f"{path}: {names[0]} is not a BERT.")
    if "vocab_size" not in fields:
        raise ValueError(f"{path}: vocab_size is missing.")
    return fields


def _config(path, fields, lower_case) -> BertConfig:
    hidden_act = fields.get("hidden_act", "gelu")
    if hidden_act not in tuple(_ACTIVATIONS):
        raise ValueError(
            f"{path}: hidden_act is {hidden_act!r}; needs one of "
            f"{sorted(_ACTIVATIONS)}."
        )
    ours = {_FIELDS[name]: fields[name] for name in _FIELDS if name in fields}
    try:
        return BertConfig(
            lower_case=lower_case, hidden_act=_ACTIVATIONS[hidden_act], **ours
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _spec(fields, weights, config, wrapping, max_length, report) -> TaskSpec:
    """Returns the spec of the heads that both the weights and kbert have."""
    architecture = (fields.get("architectures") or ["BertModel"])[0]
    longest = config.max_position_embeddings
    if wrapping.max_seq_length is None:
        longest = min(longest, max_length or longest)
    spec = None
    if not wrapping.settings:
        fields = {**fields, **wrapping.fields}
        spec = huggingface_heads.read(architecture, fields, longest, report)
    if spec is None:
        stated = _TASKS.get(architecture)
        task = "encoder"
        if not wrapping.settings:
            task = _pretraining_task(stated, weights)
            if stated is None:
                report(
                    f"{architecture}: not supported yet: read as {task}, "
                    "without any other head."
                )
        spec = task_spec(task, config)
        spec = dataclasses.replace(spec, max_seq_length=longest)
    return wrapping.spec(spec, report)


def _pretraining_task(stated, weights: Weights):
    """Returns the task; bert-base-uncased names one head but has two."""
    has_mlm = weights.has_mlm or stated in ("pretraining", "masked_lm")
    has_nsp = weights.has_nsp or stated in ("pretraining", "next_sentence")
    if has_mlm and has_nsp:
        return "pretraining"
    if has_mlm:
        return "masked_lm"
    return "next_sentence" if has_nsp else "encoder"


def save(
    loaded: LoadedModel, path: str | os.PathLike, *, report: Report
) -> None:
    """Writes a folder for `from_pretrained`, atomically.

    It has config.json, model.safetensors, vocab.txt, tokenizer_config.json and
    the licences of the weights. For an encoder whose vectors are not the plain
    mean it also has the files of sentence-transformers.

    Args:
        loaded: the model.
        path: a new or an empty folder.
        report: called with each message about what the format cannot store.
    Raises: ValueError if `path` exists and is not an empty folder, if
        transformers does not have the head, or if the masked-LM head's
        activation or epsilon differs from the encoder's; OSError.
    """
    config, spec = loaded.config, loaded.spec
    if spec.task not in _ARCHITECTURES:
        raise ValueError(
            f"task is {spec.task!r}; transformers has no such head for BERT."
        )
    fields = _fields(config, spec, loaded.vocabulary)
    fields |= huggingface_heads.write(spec, report)
    tensors = tensors_of(loaded)
    dense = {x: tensors.pop(x) for x in [*tensors] if x.startswith("dense.")}
    with new_folder(path) as folder:
        text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
        (folder / _CONFIG).write_text(text, encoding="utf-8")
        # Hugging Face refuses a file without the name of a framework.
        try:
            safetensors.numpy.save_file(
                tensors, folder / tensor_files.SAFETENSORS, {"format": "pt"}
            )
        except safetensors.SafetensorError as error:  # such as a full disk
            raise OSError(f"{path}: not written: {error}.") from None
        huggingface_tokenizer.write(
            folder,
            loaded.vocabulary,
            spec.max_seq_length,
            has_segments=config.type_vocab_size > 1,
        )
        if spec.task in ("encoder", "embedding"):
            sentence_transformers.write(folder, spec, config.hidden_size, dense)
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
                    f"mlm_{name} is {own!r}; a Hugging Face model has the "
                    f"same as its encoder, {shared!r}."
                )
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    return {
        "architectures": [_ARCHITECTURES[spec.task]],
        "model_type": "bert",
        **{theirs: getattr(config, ours) for theirs, ours in _FIELDS.items()},
        "hidden_act": names[config.hidden_act],
        "pad_token_id": vocabulary.pad_id,
    }
