# SPDX-License-Identifier: Apache-2.0
"""Converts weights between KerasHub's BERT and kbert."""

import pathlib

import keras
import keras_hub
import numpy as np

from kbert.checkpoints.folder import LoadedModel, check_size
from kbert.checkpoints.foreign import Block, Naming, Report, Source
from kbert.checkpoints.hdf5_files import count_numbers, explain_damage
from kbert.checkpoints.keras_hub_files import FIELDS
from kbert.config import BertConfig
from kbert.tasks import TaskSpec

_WEIGHTS = "model.weights.h5"
_TASK_WEIGHTS = "task.weights.h5"
_SEGMENTS = "embeddings/segment_embedding"


def build(config: BertConfig, spec: TaskSpec, tokenizer=None) -> keras.Model:
    """Builds KerasHub's model for a task, newly initialized."""
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
    """Checks that a preset has enough weights for a config, before it is built.

    Raises: ValueError, naming the file, if it is too small, missing or damaged.
    """
    file = folder / _WEIGHTS
    check_size(config.num_encoder_weights, _count(file), where=file)


def load_weights(folder: pathlib.Path, model: keras.Model) -> None:
    """Loads the weights of a preset with KerasHub.

    Raises: ValueError, naming the file, if it is missing or damaged, or does
        not have as many weights as the model.
    """
    backbone = getattr(model, "backbone", model)
    _load(folder / _WEIGHTS, backbone.load_weights, backbone.weights)
    if model is not backbone:
        own = model.weights[len(backbone.weights) :]
        _load(folder / _TASK_WEIGHTS, model.load_task_weights, own)


def _load(file, load_into, variables):
    found = _count(file)
    needed = sum(int(np.prod(variable.shape)) for variable in variables)
    # Keras silently ignores additional weights.
    if found != needed:
        raise ValueError(
            f"{file}: {found} weights; config.json needs {needed}."
        )
    with explain_damage(file, "config.json"):
        load_into(str(file))


def _count(file):
    if not file.is_file():
        raise ValueError(f"{file.parent}: no {file.name}.")
    with explain_damage(file, "config.json"):
        return count_numbers(file)


def fill(theirs: keras.Model, loaded: LoadedModel, report: Report) -> None:
    """Copies the weights of a kbert model to KerasHub's.

    Args:
        theirs: a model that `build` made for the same config, or for one with
            more segments.
        loaded: the kbert model; weights that KerasHub does not have are left
            out.
        report: called with the variables of KerasHub that kbert does not have.
    """
    empty = {v.path: v for v in theirs.weights}
    tensors_of = {path: s.names for path, s in sources(loaded.config).items()}
    for ours in loaded.model.weights:
        value = keras.ops.convert_to_numpy(ours)
        tensors = tensors_of.get(ours.path, ())
        if ours.path == _SEGMENTS:  # of one row, or of as many rows
            value = np.broadcast_to(value, empty[tensors[0]].shape)
        parts = np.split(value, max(len(tensors), 1), axis=-1)
        for name, part in zip(tensors, parts, strict=False):
            if name in empty:
                variable = empty.pop(name)
                variable.assign(np.reshape(part, variable.shape))
    if empty:
        report(f"Newly initialized: {', '.join(empty)}.")


def sources(config: BertConfig) -> dict[str, Source]:
    """Returns KerasHub's tensors for each variable of kbert."""
    naming = Naming(
        lambda layer, kind: f"{layer}/{kind}", heads_convert=np.reshape
    )
    sources = {
        "token_embedding/embeddings": Source(("token_embedding/embeddings",)),
        "embeddings/position_embedding": Source(
            ("position_embedding/embeddings",)
        ),
        _SEGMENTS: Source(("segment_embedding/embeddings",)),
        **naming.norm("embeddings/norm", "embeddings_layer_norm"),
        **naming.dense("pooler/", "pooled_dense"),
        **naming.dense("mlm_transform/", "mlm_head/intermediate_dense"),
        **naming.norm("mlm_transform/norm", "mlm_head/intermediate_layer_norm"),
        "mlm_bias/bias": Source(("mlm_head/output_bias",)),
        **naming.dense("classifier/", "logits"),
    }
    for index in range(config.num_hidden_layers):
        layer = f"transformer_layer_{index}"
        attention = f"{layer}/self_attention_layer"
        block = Block(
            query=f"{attention}/query",
            key=f"{attention}/key",
            value=f"{attention}/value",
            attention_output=f"{attention}/attention_output",
            attention_norm=f"{attention}_norm",
            intermediate=f"{layer}/feedforward_intermediate_dense",
            output=f"{layer}/feedforward_output_dense",
            output_norm=f"{layer}/feedforward_layer_norm",
        )
        sources |= naming.block(f"block_{index}", block)
    return sources
