# SPDX-License-Identifier: Apache-2.0
"""Reads google-research/bert: TensorFlow 1 checkpoints, as published.

A folder has bert_config.json, vocab.txt, bert_model.ckpt.index and
bert_model.ckpt.data-00000-of-00001. The masked-LM and the next-sentence head
are read if present. The classifier of a fine-tuned model is not, as no file
names its labels.

Source: Devlin et al. 2019, arXiv:1810.04805; google-research/bert,
    modeling.py and run_pretraining.py.
"""

import os
import pathlib
import re
from collections.abc import Mapping

from kbert import json_files, tasks
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
    check_vocabulary,
    common_prefix,
    task_spec,
    transpose,
)
from kbert.checkpoints.tf_checkpoint import (
    OBJECT_GRAPH,
    Checkpoint,
    find_checkpoint,
    open_checkpoint,
)
from kbert.config import BertConfig
from kbert.text.vocabulary import VOCABULARY_FILE, Vocabulary

CONFIG_FILE = "bert_config.json"

_FIELDS = (
    *("vocab_size", "hidden_size", "num_hidden_layers"),
    *("num_attention_heads", "intermediate_size", "hidden_act"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob"),
    *("max_position_embeddings", "type_vocab_size", "initializer_range"),
)
# Defaults of fields that differ from kbert's.
_DEFAULTS = {"type_vocab_size": 16}
_ACTIVATIONS = ("gelu", "relu")  # gelu is the tanh form, in both libraries
# Fields of which kbert supports only this value.
_MUST_BE = {
    "directionality": "bidi",
    "pooler_type": "first_token_transform",
}

_TOKEN_TABLE = "bert/embeddings/word_embeddings"
_MLM_BIAS = "cls/predictions/output_bias"
_NSP_KERNEL = "cls/seq_relationship/output_weights"
_BLOCK = re.compile(r"bert/encoder/layer_(\d+)/")
# Other optimizer tensors are named after a weight, with a suffix.
_OPTIMIZER = re.compile(
    r"(?:.*/)?(adam_m|adam_v|lamb_m|lamb_v|global_step|beta[12]_power"
    r"|(current_)?loss_scale|(num_)?good_steps)"
)


def load(
    path: str | os.PathLike, *, lower_case: bool | None, report: Report
) -> LoadedModel:
    """Reads a published model, or one that was trained further.

    Args:
        path: the folder, or the checkpoint, such as DIR/bert_model.ckpt, in a
            folder with the other files.
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
    prefix = common_prefix(checkpoint.shapes, _TOKEN_TABLE, _OPTIMIZER)
    if prefix:
        report(f"All names start with {prefix}, which is removed.")
        checkpoint = checkpoint.without_prefix(prefix)
    _check_names(checkpoint, config)
    spec = task_spec(_task(checkpoint.shapes), config)
    check_size(config.num_encoder_weights, checkpoint.num_weights, where=file)
    model = tasks.build(config, spec)
    optimizer = {
        name: name.rpartition("/")[2]
        for name in checkpoint.shapes
        if _is_of_optimizer(name, checkpoint.shapes)
    }
    assign(
        model,
        _sources(config.num_hidden_layers),
        names=checkpoint.shapes,
        read=checkpoint.read,
        where=file,
        report=report,
        ignored=optimizer,
    )
    if optimizer:
        report(
            f"{len(optimizer)} tensors of the optimizer left out: "
            f"{', '.join(sorted(set(optimizer.values())))}."
        )
    return LoadedModel(
        model, config, vocabulary, spec, read_licences(file.parent)
    )


def read_config_and_vocabulary(
    folder: pathlib.Path, *, lower_case: bool | None, report: Report
) -> tuple[BertConfig, Vocabulary]:
    """Reads bert_config.json and vocab.txt, and checks them.

    Raises: ValueError, naming the file and the field; OSError.
    """
    for name in (CONFIG_FILE, VOCABULARY_FILE):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder}: no {name}; needs {CONFIG_FILE} and "
                f"{VOCABULARY_FILE} next to the checkpoint."
            )
    vocabulary = Vocabulary.load(folder / VOCABULARY_FILE, lower_case, report)
    config = _read_config(folder / CONFIG_FILE, vocabulary.lower_case, report)
    check_vocabulary(
        vocabulary,
        config.vocab_size,
        where=folder / VOCABULARY_FILE,
        report=report,
    )
    return config, vocabulary


def _read_config(path, lower_case, report) -> BertConfig:
    fields = json_files.read(path)
    if "vocab_size" not in fields:
        raise ValueError(f"{path}: vocab_size is missing.")
    must_be = {**_MUST_BE, "embedding_size": fields.get("hidden_size")}
    for name, needed in must_be.items():
        if fields.get(name) not in (None, needed):
            raise ValueError(
                f"{path}: {name} is {fields[name]!r}; needs {needed!r}."
            )
    hidden_act = fields.get("hidden_act", "gelu")
    if hidden_act not in _ACTIVATIONS:
        raise ValueError(
            f"{path}: hidden_act is {hidden_act!r}; needs one of "
            f"{list(_ACTIVATIONS)}."
        )
    if unused := sorted(fields.keys() - {*_FIELDS, *must_be}):
        report(f"{CONFIG_FILE}: not used: {', '.join(unused)}.")
    ours = {name: fields[name] for name in _FIELDS if name in fields}
    try:
        return BertConfig(lower_case=lower_case, **{**_DEFAULTS, **ours})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _is_of_optimizer(name, names) -> bool:
    weight = name.rpartition("/")[0]
    return bool(_OPTIMIZER.fullmatch(name)) or weight in names


def _check_names(checkpoint: Checkpoint, config: BertConfig):
    names = checkpoint.shapes
    if OBJECT_GRAPH in names:
        raise ValueError(
            f"{checkpoint.path}: a checkpoint of tf.train.Checkpoint, not of "
            "google-research/bert. For one of Model Garden use "
            "--from=model_garden."
        )
    if _TOKEN_TABLE not in names:
        raise ValueError(
            f"{checkpoint.path}: no {_TOKEN_TABLE}; needs a checkpoint of "
            f"google-research/bert. It has {len(names)} tensors: "
            f"{', '.join(sorted(names)[:3])}, ..."
        )
    blocks = {int(match[1]) for name in names if (match := _BLOCK.match(name))}
    if more := sorted(blocks - set(range(config.num_hidden_layers))):
        raise ValueError(
            f"{checkpoint.path}: has bert/encoder/layer_{more[-1]}, but "
            f"{CONFIG_FILE} has num_hidden_layers {config.num_hidden_layers}."
        )


def _task(names) -> str:
    if _MLM_BIAS in names:
        return "pretraining" if _NSP_KERNEL in names else "masked_lm"
    return "next_sentence" if _NSP_KERNEL in names else "encoder"


def _sources(num_hidden_layers: int) -> Mapping[str, Source]:
    """Returns the tensor of each kbert variable."""
    naming = Naming(lambda layer, kind: f"{layer}/{kind}")
    transform = "cls/predictions/transform"
    sources = {
        "token_embedding/embeddings": Source((_TOKEN_TABLE,)),
        "embeddings/segment_embedding": Source(
            ("bert/embeddings/token_type_embeddings",)
        ),
        "embeddings/position_embedding": Source(
            ("bert/embeddings/position_embeddings",)
        ),
        **naming.norm("embeddings/norm", "bert/embeddings/LayerNorm"),
        **naming.dense("pooler/", "bert/pooler/dense"),
        **naming.dense("mlm_transform/", f"{transform}/dense"),
        **naming.norm("mlm_transform/norm", f"{transform}/LayerNorm"),
        "mlm_bias/bias": Source((_MLM_BIAS,)),
        "nsp/kernel": Source((_NSP_KERNEL,), transpose),
        "nsp/bias": Source(("cls/seq_relationship/output_bias",)),
    }
    for index in range(num_hidden_layers):
        layer = f"bert/encoder/layer_{index}"
        block = Block(
            query=f"{layer}/attention/self/query",
            key=f"{layer}/attention/self/key",
            value=f"{layer}/attention/self/value",
            attention_output=f"{layer}/attention/output/dense",
            attention_norm=f"{layer}/attention/output/LayerNorm",
            intermediate=f"{layer}/intermediate/dense",
            output=f"{layer}/output/dense",
            output_norm=f"{layer}/output/LayerNorm",
        )
        sources |= naming.block(f"block_{index}", block)
    return sources
