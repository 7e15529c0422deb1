# SPDX-License-Identifier: Apache-2.0
"""KerasHub's BERTs and their weights, from and to kbert's."""

import pathlib

import keras
import keras_hub
import numpy as np

from kbert.checkpoints.folder import LoadedModel, check_size
from kbert.checkpoints.foreign import Report, Source
from kbert.checkpoints.hdf5_files import count_numbers, explain_damage
from kbert.checkpoints.keras_hub_files import FIELDS
from kbert.config import BertConfig
from kbert.tasks import TaskSpec

_WEIGHTS = "model.weights.h5"
_TASK_WEIGHTS = "task.weights.h5"
_SEGMENTS = "embeddings/segment_embedding"


def build(config: BertConfig, spec: TaskSpec, tokenizer=None) -> keras.Model:
    """KerasHub's model for a task, with its initial weights."""
    models = keras_hub.models
    fields = {theirs: getattr(config, ours) for theirs, ours in FIELDS.items()}
    backbone = models.BertBackbone(**fields, dtype="float32")
    length = {"sequence_length": spec.max_seq_length}
    if spec.task == "masked_lm":
        return models.BertMaskedLM(
            backbone,
            tokenizer and models.BertMaskedLMPreprocessor(tokenizer, **length),
        )
    if spec.task == "classification":
        return models.BertTextClassifier(
            backbone,
            len(spec.labels),
            tokenizer
            and models.BertTextClassifierPreprocessor(tokenizer, **length),
            activation="sigmoid" if spec.settings.multi_label else None,
            dropout=config.hidden_dropout_prob,
        )
    return backbone


def check(folder: pathlib.Path, config: BertConfig) -> None:
    """Sees that a preset has weights enough for a config, before it is built.

    Raises: ValueError, naming the file, if it has not, is missing or damaged.
    """
    file = folder / _WEIGHTS
    check_size(config, _count(file), where=file)


def load_weights(folder: pathlib.Path, model: keras.Model) -> None:
    """Lets KerasHub read the weights of a preset.

    Raises: ValueError, naming the file, if one is missing, is damaged, or has
        fewer or more numbers than the model.
    """
    backbone = getattr(model, "backbone", model)
    _load(folder / _WEIGHTS, backbone.load_weights, backbone.weights)
    if model is not backbone:
        own = model.weights[len(backbone.weights) :]
        _load(folder / _TASK_WEIGHTS, model.load_task_weights, own)


def _load(file, load_into, variables):
    found = _count(file)
    wanted = sum(int(np.prod(variable.shape)) for variable in variables)
    # Keras reads what it knows, and passes over the rest without a word.
    if found != wanted:
        raise ValueError(
            f"{file}: {found} weights; config.json wants {wanted}."
        )
    with explain_damage(file, "config.json"):
        load_into(str(file))


def _count(file):
    if not file.is_file():
        raise ValueError(f"{file.parent}: no {file.name}.")
    with explain_damage(file, "config.json"):
        return count_numbers(file)


def sources(model: keras.Model, config: BertConfig) -> dict[str, Source]:
    """Where KerasHub has the value of each variable of a kbert model.

    KerasHub gives heads an axis of their own; kbert joins q, k and v.
    """
    names = _names(config)

    def source(variable):
        *rows, columns = variable.shape
        shape = (*rows, columns // len(names[variable.path]))
        return Source(
            names[variable.path], lambda tensor: np.reshape(tensor, shape)
        )

    return {v.path: source(v) for v in model.weights}


def fill(theirs: keras.Model, loaded: LoadedModel, report: Report) -> None:
    """Gives KerasHub's model the weights of kbert's.

    Args:
        theirs: as `build` made it for the same config, or for one with more
            segments than one.
        loaded: the kbert model; what KerasHub has no place for is left out.
        report: told which variables of KerasHub's kbert does not have.
    """
    empty = {v.path: v for v in theirs.weights}
    names = _names(loaded.config)
    for ours in loaded.model.weights:
        value = keras.ops.convert_to_numpy(ours)
        tensors = names.get(ours.path, ())
        if ours.path == _SEGMENTS:  # of one row, or of as many
            value = np.broadcast_to(value, empty[tensors[0]].shape)
        parts = np.split(value, max(len(tensors), 1), axis=-1)
        for name, part in zip(tensors, parts, strict=False):
            if name in empty:
                variable = empty.pop(name)
                variable.assign(np.reshape(part, variable.shape))
    if empty:
        report(f"Initial, random values: {', '.join(empty)}.")


def _names(config: BertConfig) -> dict[str, tuple[str, ...]]:
    """Variables of kbert -> KerasHub's, joined along the last axis."""
    names = {
        "token_embedding/embeddings": ("token_embedding/embeddings",),
        "embeddings/position_embedding": ("position_embedding/embeddings",),
        _SEGMENTS: ("segment_embedding/embeddings",),
        **_norm("embeddings/norm", "embeddings_layer_norm"),
        **_dense("pooler/", "pooled_dense"),
        **_dense("mlm_transform/", "mlm_head/intermediate_dense"),
        **_norm("mlm_transform/norm", "mlm_head/intermediate_layer_norm"),
        "mlm_bias/bias": ("mlm_head/output_bias",),
        **_dense("classifier/", "logits"),
    }
    for index in range(config.num_hidden_layers):
        names |= _block(f"block_{index}", f"transformer_layer_{index}")
    return names


def _block(ours, theirs):
    attention = f"{theirs}/self_attention_layer"
    inner = f"{theirs}/feedforward"
    qkv = (f"{attention}/{name}" for name in ("query", "key", "value"))
    return {
        **_dense(f"{ours}/qkv_", *qkv),
        **_dense(f"{ours}/attention_output_", f"{attention}/attention_output"),
        **_norm(f"{ours}/attention_norm", f"{attention}_norm"),
        **_dense(f"{ours}/intermediate_", f"{inner}_intermediate_dense"),
        **_dense(f"{ours}/output_", f"{inner}_output_dense"),
        **_norm(f"{ours}/output_norm", f"{inner}_layer_norm"),
    }


def _dense(ours, *theirs):
    return {
        f"{ours}{kind}": tuple(f"{name}/{kind}" for name in theirs)
        for kind in ("kernel", "bias")
    }


def _norm(ours, theirs):
    return {
        f"{ours}/{kind}": (f"{theirs}/{kind}",) for kind in ("gamma", "beta")
    }
