# SPDX-License-Identifier: Apache-2.0
"""Converts weights between Hugging Face's BERT and kbert."""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Container, Mapping

import keras
import numpy as np

from kbert.checkpoints import tensor_files
from kbert.checkpoints.folder import LoadedModel
from kbert.checkpoints.foreign import (
    Block,
    Naming,
    Report,
    Source,
    assign,
    common_prefix,
    transpose,
)
from kbert.config import BertConfig

_TOKEN_TABLE = "embeddings.word_embeddings.weight"
_POSITION_TABLE = "embeddings.position_embeddings.weight"
_SEGMENT_TABLE = "embeddings.token_type_embeddings.weight"
_INTERMEDIATE = "encoder.layer.0.intermediate.dense.weight"
_ENCODER = re.compile(r"(embeddings|encoder|pooler)\.")
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
_PREFIX = "bert."  # of the encoder's tensors in a model with a head
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")  # 0, 1, ...
_MLM_BIAS = "cls.predictions.bias"
_MLM_MATRIX = "cls.predictions.decoder.weight"
_MLM_MATRIX_BIAS = "cls.predictions.decoder.bias"
_NSP_KERNEL = "cls.seq_relationship.weight"
_DENSE = "dense.{}.weight"  # of an embedding model
# kbert's names of a layer's tensors -> Hugging Face's.
_KINDS = {
    **{"kernel": "weight", "bias": "bias"},
    **{"gamma": "weight", "beta": "bias"},
}


@dataclasses.dataclass(frozen=True)
class Weights:
    """The tensors of a folder, by their current names without "bert.".

    In the files of a model with a head, the names of the encoder start with
    "bert."; in old files, the names of norms end in gamma and beta.

    Attributes:
        where: the file, for messages.
        tensors: functions that read the tensors, by their names in the file.
        names: the names in the file, by current name.
        prefix: the prefix of a wrapper, such as "module.", in the file.
    """

    where: pathlib.Path
    tensors: tensor_files.Tensors
    names: Mapping[str, str]
    prefix: str = ""

    @classmethod
    def open(
        cls, folder: pathlib.Path, more: tensor_files.Tensors
    ) -> "Weights":
        """Opens the weights of a folder.

        Args:
            folder: of the model.
            more: functions that read tensors of other files, by name.
        Raises: ValueError, naming the file; OSError.
        """
        where, tensors = tensor_files.open_folder(folder)
        prefix = common_prefix(tensors, _PREFIX + _TOKEN_TABLE)
        if not prefix:
            prefix = common_prefix(tensors, _TOKEN_TABLE).removesuffix(_PREFIX)
        names = {}
        for name in tensors:
            current = name.removeprefix(prefix).removeprefix(_PREFIX)
            current = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", current)
            current = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", current)
            if current in names:
                raise ValueError(
                    f"{where}: {names[current]} and {name} are one tensor."
                )
            names[current] = name
        names |= {name: name for name in more}
        return cls(where, {**tensors, **more}, names, prefix)

    @property
    def has_mlm(self) -> bool:
        return _MLM_BIAS in self.names

    @property
    def has_nsp(self) -> bool:
        return _NSP_KERNEL in self.names

    def check(self, config: BertConfig) -> None:
        """Checks that a config fits these weights, before the model is built.

        Raises: ValueError, naming the tensors.
        """
        if _TOKEN_TABLE not in self.names:
            raise ValueError(
                f"{self.where}: tensors missing: {_TOKEN_TABLE}, with or "
                f"without the prefix {_PREFIX}"
            )
        layers = {m[1] for name in self.names if (m := _LAYER.match(name))}
        if len(layers) != config.num_hidden_layers:
            raise ValueError(
                f"{self.where}: {len(layers)} layers; the config has "
                f"num_hidden_layers {config.num_hidden_layers}."
            )
        width = config.hidden_size
        sizes = {
            _TOKEN_TABLE: config.vocab_size,
            _POSITION_TABLE: config.max_position_embeddings,
            _SEGMENT_TABLE: config.type_vocab_size,
            _INTERMEDIATE: config.intermediate_size,
        }
        for name in sizes.keys() & self.names.keys():
            shape, expected = self._read(name).shape, (sizes[name], width)
            if shape != expected:
                raise ValueError(
                    f"{self.where}: {self.names[name]} has the shape {shape}; "
                    f"the config needs {expected}."
                )
        if missing := sorted(sizes.keys() - self.names.keys()):
            raise ValueError(
                f"{self.where}: tensors missing: {', '.join(missing)}."
            )
        sources = _sources(config, self.names).values()
        known = {*_BUFFERS, *(name for s in sources for name in s.names)}
        in_encoder = {name for name in self.names if _ENCODER.match(name)}
        if unknown := sorted(self.names[name] for name in in_encoder - known):
            raise ValueError(
                f"{self.where}: tensors that no BERT encoder has: "
                f"{', '.join(unknown)}."
            )

    def assign(
        self,
        model: keras.Model,
        config: BertConfig,
        *,
        optional: list[str],
        report: Report,
    ) -> None:
        """Fills every variable of a model; see `foreign.assign`."""
        if self.prefix:
            report(f"All names start with {self.prefix}, which is removed.")
        sources = {
            path: source._replace(
                names=tuple(self.names.get(n, n) for n in source.names)
            )
            for path, source in _sources(config, self.names).items()
        }
        redundant = (*_BUFFERS, *self._copies(config))
        assign(
            model,
            sources,
            names=self.tensors,
            read=lambda name: self.tensors[name](),
            where=self.where,
            report=report,
            optional=optional,
            ignored=[self.names[n] for n in redundant if n in self.names],
        )

    def _copies(self, config) -> list[str]:
        """Returns tensors that are in the file twice, original and copy.

        Only one of the two is read.
        """
        originals = {_MLM_MATRIX_BIAS: _MLM_BIAS}
        if config.tie_word_embeddings:
            originals[_MLM_MATRIX] = _TOKEN_TABLE
        found = []
        for copy, original in originals.items():
            if copy not in self.names or original not in self.names:
                continue
            if np.array_equal(self._read(copy), self._read(original)):
                found += [original, copy]
            elif config.tie_word_embeddings:
                raise ValueError(
                    f"{self.where}: {self.names[copy]} differs from "
                    f"{self.names[original]}, but the config ties them "
                    "(tie_word_embeddings)."
                )
        return found

    def _read(self, name: str) -> np.ndarray:
        return self.tensors[self.names[name]]()


def tensors_of(loaded: LoadedModel) -> dict[str, np.ndarray]:
    """Returns the tensors of a model, named as `save_pretrained` names them."""
    tensors = {}
    names = {
        _MLM_MATRIX_BIAS,
        *map(_DENSE.format, range(len(loaded.model.layers))),
    }
    sources = _sources(loaded.config, names)
    for variable in loaded.model.weights:
        source = sources[variable.path]
        parts = np.split(variable.numpy(), len(source.names), axis=-1)
        for name, part in zip(source.names, parts, strict=True):
            # Transposing is its own inverse.
            part = source.convert(part, part.shape)
            tensors[name] = np.ascontiguousarray(part)
    if loaded.config.position_embedding == "sinusoidal":
        embeddings = loaded.model.get_layer("embeddings")
        tensors[_POSITION_TABLE] = embeddings.position_table
    if _MLM_MATRIX_BIAS in tensors:  # transformers reads the first of the two
        tensors[_MLM_BIAS] = tensors[_MLM_MATRIX_BIAS]
    has_head = loaded.spec.task not in ("encoder", "embedding")
    prefix = _PREFIX if has_head else ""
    return {
        prefix + name if _ENCODER.match(name) else name: tensor
        for name, tensor in tensors.items()
    }


def _sources(config: BertConfig, names: Container[str]) -> dict[str, Source]:
    """Returns the tensors of each variable, by current names without "bert.".

    Args:
        config: the architecture.
        names: the tensors that exist.
    """
    naming = Naming(
        lambda layer, kind: f"{layer}.{_KINDS[kind]}",
        dense_convert=transpose,
        heads_convert=transpose,
    )
    dense, norm = naming.dense, naming.norm
    sources = {
        "token_embedding/embeddings": Source((_TOKEN_TABLE,)),
        "embeddings/segment_embedding": Source((_SEGMENT_TABLE,)),
        "embeddings/position_embedding": Source((_POSITION_TABLE,)),
        **norm("embeddings/norm", "embeddings.LayerNorm"),
        **dense("pooler/", "pooler.dense"),
        **dense("mlm_transform/", "cls.predictions.transform.dense"),
        **norm("mlm_transform/norm", "cls.predictions.transform.LayerNorm"),
        "mlm_output/embeddings": Source((_MLM_MATRIX,)),
        "mlm_bias/bias": Source((_MLM_BIAS,)),
        **dense("nsp/", "cls.seq_relationship"),
        **dense("classifier/", "classifier"),
        **dense("regressor/", "classifier"),
        **dense("tagger/", "classifier"),
        **dense("choice_score/", "classifier"),
        **dense("question_answerer/", "qa_outputs"),
    }
    if not config.tie_word_embeddings and _MLM_MATRIX_BIAS in names:
        sources["mlm_bias/bias"] = Source((_MLM_MATRIX_BIAS,))
    for index in itertools.count():
        if _DENSE.format(index) not in names:
            break
        sources |= dense(f"embedding_dense_{index}/", f"dense.{index}")
    for index in range(config.num_hidden_layers):
        layer = f"encoder.layer.{index}"
        block = Block(
            query=f"{layer}.attention.self.query",
            key=f"{layer}.attention.self.key",
            value=f"{layer}.attention.self.value",
            attention_output=f"{layer}.attention.output.dense",
            attention_norm=f"{layer}.attention.output.LayerNorm",
            intermediate=f"{layer}.intermediate.dense",
            output=f"{layer}.output.dense",
            output_norm=f"{layer}.output.LayerNorm",
        )
        sources |= naming.block(f"block_{index}", block)
    return sources
