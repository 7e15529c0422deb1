# SPDX-License-Identifier: Apache-2.0
"""Reads Model Garden (tf-models-official): BertEncoder, BertPretrainerV2.

A folder has a checkpoint that tf.train.Checkpoint wrote and, as in Model
Garden's archives, bert_config.json and vocab.txt of google-research/bert. The
activation is not in the checkpoint; the one in bert_config.json is used for
the encoder and for the masked-LM head.

The layers are found by their attribute names, wherever the model is in the
checkpoint, with or without an optimizer. The next-sentence head is the
classification head of this name. It has a separate pooler, which becomes
kbert's pooler, as Model Garden uses it for fine-tuning.

Source: tf-models-official 2.20, official/nlp/modeling: networks/
    bert_encoder.py, models/bert_pretrainer.py, layers/masked_lm.py.
"""

import dataclasses
import itertools
import os
import re

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.trackable_object_graph_pb2 import (
    TrackableObjectGraph,
)

from kbert import tasks
from kbert.checkpoints.folder import (
    LoadedModel,
    check_size,
    read_licences,
)
from kbert.checkpoints.foreign import (
    Block,
    Naming,
    Report,
    Source,
    assign,
    task_spec,
)
from kbert.checkpoints.google import CONFIG_FILE, read_config_and_vocabulary
from kbert.checkpoints.tf_checkpoint import (
    OBJECT_GRAPH,
    Checkpoint,
    find_checkpoint,
    open_checkpoint,
)
from kbert.config import BertConfig

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # the suffix of a variable's name
_OPTIMIZER = re.compile(r"(optimizer|global_step)\b.*|.*/\.OPTIMIZER_SLOT/.*")

# The attributes of BertEncoderV2, which is a layer. The older BertEncoder is a
# functional model with numbered layers: the tables, norm, blocks and pooler.
# Old checkpoints lack some of the attributes.
_TABLES = (
    *("_embedding_layer", "_position_embedding_layer"),
    *("_type_embedding_layer", "_embedding_norm_layer"),
)
_BLOCKS, _ATTENTION, _POOLER = (
    *("_transformer_layers", "_attention_layer"),
    "_pooler_layer",
)
_NUMBERED = "layer_with_weights-{}"

_MASKED_LM = {"embedding_table", "dense", "layer_norm", "bias"}
_HEAD = {"dense", "out_proj"}
_NSP = "next_sentence"
# The pooler of this head, at the root of the checkpoints in the archives.
_NSP_POOLER = f"{_NSP}.pooler_dense"


@dataclasses.dataclass(eq=False)
class _Object:
    """An object in a checkpoint.

    Attributes:
        path: one of its paths from the root, for messages.
        parts: its attributes that are objects.
        tensor: the name of its tensor, if it is a variable.
        full_name: the name of the variable in its model.
    """

    path: str
    parts: dict[str, "_Object"] = dataclasses.field(default_factory=dict)
    tensor: str = ""
    full_name: str = ""

    def __getitem__(self, name: str) -> "_Object":
        return self.parts.get(name) or _Object(f"{self.path}/{name}")

    def in_order(self, name: str) -> list["_Object"]:
        """Returns the parts whose names are a pattern with 0, 1, 2, ..."""
        names = map(name.format, itertools.count())
        present = itertools.takewhile(self.parts.__contains__, names)
        return [self.parts[name] for name in present]


@dataclasses.dataclass(frozen=True)
class _Model:
    """The objects that kbert reads; None if not in the checkpoint."""

    tables: list[_Object]
    blocks: list[_Object]
    pooler: _Object
    masked_lm: _Object | None = None
    nsp_pooler: _Object | None = None
    nsp: _Object | None = None

    @property
    def task(self) -> str:
        if self.masked_lm:
            return "pretraining" if self.nsp_pooler else "masked_lm"
        return "next_sentence" if self.nsp else "encoder"


def load(
    path: str | os.PathLike, *, lower_case: bool | None, report: Report
) -> LoadedModel:
    """Reads an encoder, with the pre-training heads if present.

    Args:
        path: the folder, or the checkpoint, such as DIR/ckpt-1, in a folder
            with the other files.
        lower_case: the casing of the vocabulary, which no file contains.
        report: called with each message about what was read and left out.
    Raises: ValueError, naming the file, what was found and what is needed;
        OSError.
    """
    file = find_checkpoint(path)
    config, vocabulary = read_config_and_vocabulary(
        file.parent, lower_case=lower_case, report=report
    )
    checkpoint = open_checkpoint(file)
    found = _find_model(_read_objects(checkpoint), file)
    _check_config(found, checkpoint, config)
    spec = task_spec(found.task, config)
    check_size(config.num_encoder_weights, checkpoint.num_weights, where=file)
    model = tasks.build(config, spec)
    names = {name.removesuffix(_VALUE) for name in checkpoint.shapes}
    optimizer = {name for name in names if _OPTIMIZER.fullmatch(name)}
    if found.nsp_pooler:
        report(f"The pooler is that of the {_NSP} head, not the encoder's.")
    assign(
        model,
        _sources(found),
        names=names,
        read=lambda name: checkpoint.read(name + _VALUE),
        where=file,
        report=report,
        optional=["nsp"],
        ignored={*optimizer, OBJECT_GRAPH, "save_counter"},
    )
    if optimizer:
        report(f"{len(optimizer)} tensors of the optimizer left out.")
    return LoadedModel(
        model, config, vocabulary, spec, read_licences(file.parent)
    )


def _read_objects(checkpoint: Checkpoint) -> list[_Object]:
    """Returns all objects; the first is the root."""
    if OBJECT_GRAPH not in checkpoint.shapes:
        raise ValueError(
            f"{checkpoint.path}: no {OBJECT_GRAPH}; needs a checkpoint of "
            "tf.train.Checkpoint. For one of TensorFlow 1 use --from=google."
        )
    try:
        graph = TrackableObjectGraph.FromString(
            checkpoint.read(OBJECT_GRAPH).item()
        )
        objects = [_Object("") for _ in graph.nodes]
        for node, parent in zip(graph.nodes, objects, strict=True):
            for child in node.children:
                part = objects[child.node_id]
                parent.parts[child.local_name] = part
                part.path = part.path or f"{parent.path}/{child.local_name}"
            for attribute in node.attributes:
                parent.tensor = attribute.checkpoint_key.removesuffix(_VALUE)
                parent.full_name = attribute.full_name
    except (DecodeError, TypeError, IndexError) as error:
        raise ValueError(
            f"{checkpoint.path}: {OBJECT_GRAPH} is damaged: {error}."
        ) from None
    return objects


def _find_model(objects: list[_Object], file) -> _Model:
    encoders = [encoder for o in objects if (encoder := _encoder(o))]
    masked_lm = [o for o in objects if o.parts.keys() >= _MASKED_LM]
    heads = [o for o in objects if o.parts.keys() >= _HEAD and _is_nsp(o)]
    if len(encoders) != 1 or len(masked_lm) > 1 or len(heads) > 1:
        raise ValueError(
            f"{file}: {len(encoders)} encoders, {len(masked_lm)} masked-LM "
            f"and {len(heads)} {_NSP} heads; needs one BertEncoder or "
            "BertEncoderV2, with at most one of each head."
        )
    nsp = heads[0]["out_proj"] if heads else None
    nsp_pooler = (
        heads[0]["dense"] if heads else objects[0].parts.get(_NSP_POOLER)
    )
    return dataclasses.replace(
        encoders[0],
        pooler=nsp_pooler or encoders[0].pooler,
        masked_lm=masked_lm[0] if masked_lm else None,
        nsp_pooler=nsp_pooler,
        nsp=nsp,
    )


def _encoder(candidate: _Object) -> _Model | None:
    numbered = candidate.in_order(_NUMBERED)
    if _BLOCKS in candidate.parts and not numbered:
        tables = [candidate[name] for name in _TABLES]
        blocks = candidate[_BLOCKS].in_order("{}")
        return _Model(tables, blocks, candidate[_POOLER])
    tables, layers = numbered[: len(_TABLES)], numbered[len(_TABLES) :]
    blocks = [layer for layer in layers if _ATTENTION in layer.parts]
    if not blocks or layers[: len(blocks)] != blocks:
        return None
    pooler = [*layers[len(blocks) :], candidate[_POOLER]][0]
    return _Model(tables, blocks, pooler)


def _is_nsp(head):
    return _NSP in head["dense"]["kernel"].full_name.split("/")


def _check_config(found: _Model, checkpoint: Checkpoint, config: BertConfig):
    query = found.blocks[0][_ATTENTION]["_query_dense"]["kernel"]
    shape = checkpoint.shapes.get(query.tensor + _VALUE, ())
    in_checkpoint = {
        "num_hidden_layers": len(found.blocks),
        "num_attention_heads": shape[1] if len(shape) == 3 else 0,
    }
    for name, value in in_checkpoint.items():
        if value != getattr(config, name):
            raise ValueError(
                f"{checkpoint.path}: {name} is {value}, but {CONFIG_FILE} has "
                f"{getattr(config, name)}."
            )


def _sources(found: _Model) -> dict[str, Source]:
    """Returns the tensors of each kbert variable."""
    naming = Naming(
        lambda layer, kind: _tensor(layer[kind]), heads_convert=np.reshape
    )
    words, positions, segments, norm = found.tables
    sources = {
        "token_embedding/embeddings": _table(words),
        "embeddings/position_embedding": _table(positions),
        "embeddings/segment_embedding": _table(segments),
        **naming.norm("embeddings/norm", norm),
        **naming.dense("pooler/", found.pooler),
    }
    if found.masked_lm:
        sources |= {
            **naming.dense("mlm_transform/", found.masked_lm["dense"]),
            **naming.norm("mlm_transform/norm", found.masked_lm["layer_norm"]),
            "mlm_bias/bias": Source((_tensor(found.masked_lm["bias"]),)),
        }
    sources |= naming.dense("nsp/", found.nsp or _Object(_NSP))
    for index, layer in enumerate(found.blocks):
        attention = layer[_ATTENTION]
        block = Block(
            query=attention["_query_dense"],
            key=attention["_key_dense"],
            value=attention["_value_dense"],
            attention_output=attention["_output_dense"],
            attention_norm=layer["_attention_layer_norm"],
            intermediate=layer["_intermediate_dense"],
            output=layer["_output_dense"],
            output_norm=layer["_output_layer_norm"],
        )
        sources |= naming.block(f"block_{index}", block)
    return sources


def _table(layer) -> Source:
    return Source((_tensor(layer["embeddings"]),))


def _tensor(variable: _Object) -> str:
    """Returns the name of a variable's tensor; if it is missing, its path."""
    return variable.tensor or variable.path.lstrip("/")
