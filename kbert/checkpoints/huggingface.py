# SPDX-License-Identifier: Apache-2.0
"""Import of a Hugging Face BERT: its encoder, its pooler, its vocabulary.

A folder as `BertModel.save_pretrained` and its tokenizer write it:
config.json, model.safetensors, vocab.txt, tokenizer_config.json. Heads are
left out. Tensors have PyTorch's order: (outputs, inputs).
"""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import safetensors

from kbert import tasks
from kbert.checkpoints.folder import LoadedModel
from kbert.config import BertConfig, read_fields
from kbert.tasks import TaskSpec
from kbert.text.vocabulary import VOCABULARY_FILE, Vocabulary

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_TOKENIZER = "tokenizer_config.json"

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
            "initializer_range",
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
}
_TOKEN_TABLE = "embeddings.word_embeddings.weight"
_DTYPES = ("F32", "F16", "F64")  # that numpy knows; bfloat16 is none of them
_POSITION_IDS = "embeddings.position_ids"  # 0, 1, 2, ...: no weight


def load(
    folder: str | os.PathLike,
    *,
    lower_case: bool | None = None,
    report: Callable[[str], Any] = lambda line: None,
) -> LoadedModel:
    """Reads a folder as an encoder of the task "encoder".

    Args:
        folder: holds config.json, vocab.txt and model.safetensors.
        lower_case: the casing, if tokenizer_config.json does not say; it may
            not contradict it.
        report: called with each line about what was read and left out.
    Raises: ValueError, naming the file, what was found and what was wanted;
        OSError.
    """
    folder = pathlib.Path(folder)
    _check_files(folder)
    lower_case = _casing(folder / _TOKENIZER, lower_case)
    config = _read_config(folder / _CONFIG, lower_case)
    vocabulary = Vocabulary.load(folder / VOCABULARY_FILE, lower_case)
    spare = config.vocab_size - len(vocabulary)
    if spare < 0:
        raise ValueError(
            f"{folder / VOCABULARY_FILE}: {len(vocabulary)} tokens, but "
            f"{_CONFIG} has vocab_size {config.vocab_size}."
        )
    if spare:
        report(f"{spare} rows of the token table stand for no token: kept.")
    spec = TaskSpec(
        task="encoder", max_seq_length=config.max_position_embeddings
    )
    model = tasks.build(config, spec)
    _assign(model, config, folder / _WEIGHTS, report)
    return LoadedModel(model, config, vocabulary, spec)


def _check_files(folder):
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise ValueError(f"{folder}: {found}; wanted a Hugging Face folder.")
    for name in (_CONFIG, VOCABULARY_FILE, _WEIGHTS):
        if not (folder / name).is_file():
            weights = [*folder.glob("*.bin"), *folder.glob("*.safetensors*")]
            found = ", ".join(sorted(path.name for path in weights))
            raise ValueError(
                f"{folder}: no {name}; wanted a Hugging Face folder with "
                f"{_CONFIG}, {VOCABULARY_FILE} and {_WEIGHTS}. Weights are "
                f"read from a single {_WEIGHTS} only; found "
                f"{found or 'none'}."
            )


def _casing(path, lower_case):
    fields = read_fields(path) if path.is_file() else {}
    stated = fields.get("do_lower_case")
    if stated is None:
        stated = lower_case
    if stated is None:
        raise ValueError(
            f"{path}: do_lower_case is missing. Give --lower_case=true "
            "(uncased) or =false (cased)."
        )
    if lower_case not in (None, stated):
        raise ValueError(
            f"{path}: do_lower_case is {stated}, but --lower_case is "
            f"{lower_case}."
        )
    must_be = {"strip_accents": stated, "tokenize_chinese_chars": True}
    for name, wanted in must_be.items():
        if fields.get(name) not in (None, wanted):
            raise ValueError(
                f"{path}: {name} is {fields[name]}; kbert's tokenizer has "
                f"{wanted} with do_lower_case {stated}."
            )
    return stated


def _read_config(path, lower_case) -> BertConfig:
    fields = read_fields(path)
    for name, wanted in _CONFIG_MUST_BE.items():
        if fields.get(name, wanted) != wanted:
            raise ValueError(
                f"{path}: {name} is {fields[name]!r}; wanted {wanted!r}."
            )
    if "vocab_size" not in fields:
        raise ValueError(f"{path}: vocab_size is missing.")
    hidden_act = fields.get("hidden_act", "gelu")
    if hidden_act not in _ACTIVATIONS:
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


def _assign(model: keras.Model, config: BertConfig, path, report):
    """Fills every variable of the encoder from the file."""
    try:
        file = safetensors.safe_open(path, "numpy")
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: not a whole safetensors file: {error}."
        ) from None
    with file:
        present = set(file.keys())
        prefix = "bert." if f"bert.{_TOKEN_TABLE}" in present else ""
        names = _tensor_names(config, prefix, present)
        used = [name for group in names.values() for name in group]
        if missing := [name for name in used if name not in present]:
            raise ValueError(f"{path}: tensors missing: {', '.join(missing)}.")
        for variable in model.weights:
            group = names[variable.path]
            # PyTorch's matrices are (outputs, inputs).
            is_kernel = variable.path.endswith("kernel")
            tensors = [_read(file, name, path) for name in group]
            value = np.concatenate(
                [tensor.T if is_kernel else tensor for tensor in tensors], -1
            )
            if value.shape != tuple(variable.shape):
                raise ValueError(
                    f"{path}: {', '.join(group)} give {variable.path} the "
                    f"shape {value.shape}; {_CONFIG} wants "
                    f"{tuple(variable.shape)}."
                )
            variable.assign(value)
    report(f"{len(used)} tensors read.")
    left = sorted(present - {*used, prefix + _POSITION_IDS})
    if left:
        report(f"{len(left)} tensors left out: {', '.join(left)}.")


def _read(file, name, path):
    dtype = file.get_slice(name).get_dtype()
    if dtype not in _DTYPES:
        raise ValueError(
            f"{path}: {name} is of type {dtype}; wanted one of "
            f"{', '.join(_DTYPES)}."
        )
    return file.get_tensor(name).astype("float32")


def _tensor_names(config, prefix, present) -> dict[str, list[str]]:
    """The tensors that each variable, by its path, is put together from."""
    names = {
        "token_embedding/embeddings": [_TOKEN_TABLE],
        "embeddings/segment_embedding": [
            "embeddings.token_type_embeddings.weight"
        ],
        "embeddings/position_embedding": [
            "embeddings.position_embeddings.weight"
        ],
        **_norm("embeddings/norm", "embeddings.LayerNorm"),
        "pooler/kernel": ["pooler.dense.weight"],
        "pooler/bias": ["pooler.dense.bias"],
    }
    for index in range(config.num_hidden_layers):
        names |= _block(f"block_{index}", f"encoder.layer.{index}")
    full = {}
    for path, group in names.items():
        full[path] = [prefix + name for name in group]
        old = [_old_norm_name(name) for name in full[path]]
        if all(name in present for name in old):
            full[path] = old
    return full


def _old_norm_name(name):
    """Norms' weight and bias were once called gamma and beta."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"
    )


def _block(ours, theirs):
    dense = {
        "qkv": [f"attention.self.{n}" for n in ("query", "key", "value")],
        "attention_output": ["attention.output.dense"],
        "intermediate": ["intermediate.dense"],
        "output": ["output.dense"],
    }
    names = {}
    for name, group in dense.items():
        for kind, suffix in (("kernel", "weight"), ("bias", "bias")):
            names[f"{ours}/{name}_{kind}"] = [
                f"{theirs}.{part}.{suffix}" for part in group
            ]
    return {
        **names,
        **_norm(
            f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm"
        ),
        **_norm(f"{ours}/output_norm", f"{theirs}.output.LayerNorm"),
    }


def _norm(ours, theirs):
    return {
        f"{ours}/gamma": [f"{theirs}.weight"],
        f"{ours}/beta": [f"{theirs}.bias"],
    }
