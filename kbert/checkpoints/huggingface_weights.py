# SPDX-License-Identifier: Apache-2.0
"""The tensors of a Hugging Face BERT and kbert's variables, both ways."""

import dataclasses
import pathlib
import re
from collections.abc import Container, Mapping

import keras
import numpy as np

from kbert.checkpoints import tensor_files
from kbert.checkpoints.folder import LoadedModel
from kbert.checkpoints.foreign import Report, Source, assign, common_prefix
from kbert.config import BertConfig

_TOKEN_TABLE = "embeddings.word_embeddings.weight"
_POSITION_TABLE = "embeddings.position_embeddings.weight"
_SEGMENT_TABLE = "embeddings.token_type_embeddings.weight"
_INTERMEDIATE = "encoder.layer.0.intermediate.dense.weight"
_ENCODER = re.compile(r"(embeddings|encoder|pooler)\.")
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
_PREFIX = "bert."  # of the encoder's tensors, beside a head
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")  # 0, 1, ...
_MLM_BIAS = "cls.predictions.bias"
_MLM_MATRIX = "cls.predictions.decoder.weight"
_MLM_MATRIX_BIAS = "cls.predictions.decoder.bias"
_NSP_KERNEL = "cls.seq_relationship.weight"


@dataclasses.dataclass(frozen=True)
class Weights:
    """The tensors of a folder, under today's names without "bert.".

    In files, the names of an encoder beside a head begin with "bert.", and
    those of norms once ended in gamma and beta.

    Attributes:
        where: the file, for messages.
        tensors: functions that read them, by their names in the file.
        names: their names in the file, by today's.
        prefix: a wrapper's, such as "module.", before all names in the file.
    """

    where: pathlib.Path
    tensors: tensor_files.Tensors
    names: Mapping[str, str]
    prefix: str = ""

    @classmethod
    def open(cls, folder: pathlib.Path) -> "Weights":
        """Raises: ValueError, naming the file; OSError."""
        where, tensors = tensor_files.open_folder(folder)
        prefix = common_prefix(tensors, _PREFIX + _TOKEN_TABLE)
        if not prefix:
            prefix = common_prefix(tensors, _TOKEN_TABLE).removesuffix(_PREFIX)
        names = {}
        for name in tensors:
            today = name.removeprefix(prefix).removeprefix(_PREFIX)
            today = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", today)
            today = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", today)
            if today in names:
                raise ValueError(
                    f"{where}: {names[today]} and {name} are one tensor."
                )
            names[today] = name
        return cls(where, tensors, names, prefix)

    @property
    def has_mlm(self) -> bool:
        return _MLM_BIAS in self.names

    @property
    def has_nsp(self) -> bool:
        return _NSP_KERNEL in self.names

    def check(self, config: BertConfig) -> None:
        """Sees that a config is of these weights, before it makes a model.

        Raises: ValueError, naming the tensors.
        """
        if _TOKEN_TABLE not in self.names:
            raise ValueError(
                f"{self.where}: tensors missing: {_TOKEN_TABLE}, with or "
                f"without {_PREFIX} before it."
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
            shape, wanted = self._read(name).shape, (sizes[name], width)
            if shape != wanted:
                raise ValueError(
                    f"{self.where}: {self.names[name]} has the shape {shape}; "
                    f"the config wants {wanted}."
                )
        if missing := sorted(sizes.keys() - self.names.keys()):
            raise ValueError(
                f"{self.where}: tensors missing: {', '.join(missing)}."
            )
        sources = _sources(config, self.names).values()
        known = {*_BUFFERS, *(name for s in sources for name in s.names)}
        ours = {name for name in self.names if _ENCODER.match(name)}
        if strange := sorted(self.names[name] for name in ours - known):
            raise ValueError(
                f"{self.where}: tensors that no BERT encoder has: "
                f"{', '.join(strange)}."
            )

    def assign(
        self,
        model: keras.Model,
        config: BertConfig,
        *,
        optional: list[str],
        report: Report,
    ) -> None:
        """Fills every variable of a model, as `foreign.assign` does."""
        if self.prefix:
            report(f"All names begin with {self.prefix}, which is left out.")
        sources = {
            path: dataclasses.replace(
                source,
                names=tuple(self.names.get(n, n) for n in source.names),
            )
            for path, source in _sources(config, self.names).items()
        }
        nothing_new = (*_BUFFERS, *self._copies(config))
        assign(
            model,
            sources,
            names=self.tensors,
            read=lambda name: self.tensors[name](),
            where=self.where,
            report=report,
            optional=optional,
            ignored=[self.names[n] for n in nothing_new if n in self.names],
        )

    def _copies(self, config) -> list[str]:
        """Tensors that stand in the file a second time, with their originals.

        One of the two is read.
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
                    f"{self.names[original]}, but by the config the two are "
                    "one (tie_word_embeddings)."
                )
        return found

    def _read(self, name: str) -> np.ndarray:
        return self.tensors[self.names[name]]()


def tensors_of(loaded: LoadedModel) -> dict[str, np.ndarray]:
    """A model's variables, named and turned as `save_pretrained` does."""
    tensors = {}
    sources = _sources(loaded.config, {_MLM_MATRIX_BIAS})
    for variable in loaded.model.weights:
        source = sources[variable.path]
        parts = np.split(variable.numpy(), len(source.names), axis=-1)
        for name, part in zip(source.names, parts, strict=True):
            # Transposing undoes itself.
            tensors[name] = np.ascontiguousarray(source.convert(part))
    if loaded.config.position_embedding == "sinusoidal":
        embeddings = loaded.model.get_layer("embeddings")
        tensors[_POSITION_TABLE] = embeddings.position_table
    if _MLM_MATRIX_BIAS in tensors:  # where both are, the first counts
        tensors[_MLM_BIAS] = tensors[_MLM_MATRIX_BIAS]
    prefix = "" if loaded.spec.task == "encoder" else _PREFIX
    return {
        prefix + name if _ENCODER.match(name) else name: tensor
        for name, tensor in tensors.items()
    }


def _sources(config: BertConfig, names: Container[str]) -> dict[str, Source]:
    """Where each variable comes from, in today's names without "bert."."""
    sources = {
        "token_embedding/embeddings": Source((_TOKEN_TABLE,)),
        "embeddings/segment_embedding": Source((_SEGMENT_TABLE,)),
        "embeddings/position_embedding": Source((_POSITION_TABLE,)),
        **_norm("embeddings/norm", "embeddings.LayerNorm"),
        **_dense("pooler/", "pooler.dense"),
        **_dense("mlm_transform/", "cls.predictions.transform.dense"),
        **_norm("mlm_transform/norm", "cls.predictions.transform.LayerNorm"),
        "mlm_output/embeddings": Source((_MLM_MATRIX,)),
        "mlm_bias/bias": Source((_MLM_BIAS,)),
        **_dense("nsp/", "cls.seq_relationship"),
        **_dense("classifier/", "classifier"),
        **_dense("regressor/", "classifier"),
        **_dense("tagger/", "classifier"),
        **_dense("choice_score/", "classifier"),
        **_dense("question_answerer/", "qa_outputs"),
    }
    if not config.tie_word_embeddings and _MLM_MATRIX_BIAS in names:
        sources["mlm_bias/bias"] = Source((_MLM_MATRIX_BIAS,))
    for index in range(config.num_hidden_layers):
        ours, theirs = f"block_{index}", f"encoder.layer.{index}"
        sources |= {
            **_dense(
                f"{ours}/qkv_",
                *(
                    f"{theirs}.attention.self.{name}"
                    for name in ("query", "key", "value")
                ),
            ),
            **_dense(
                f"{ours}/attention_output_", f"{theirs}.attention.output.dense"
            ),
            **_dense(f"{ours}/intermediate_", f"{theirs}.intermediate.dense"),
            **_dense(f"{ours}/output_", f"{theirs}.output.dense"),
            **_norm(
                f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm"
            ),
            **_norm(f"{ours}/output_norm", f"{theirs}.output.LayerNorm"),
        }
    return sources


def _dense(ours, *theirs) -> dict[str, Source]:
    return {
        f"{ours}kernel": Source(
            tuple(f"{name}.weight" for name in theirs), np.transpose
        ),
        f"{ours}bias": Source(tuple(f"{name}.bias" for name in theirs)),
    }


def _norm(ours, theirs) -> dict[str, Source]:
    return {
        f"{ours}/gamma": Source((f"{theirs}.weight",)),
        f"{ours}/beta": Source((f"{theirs}.bias",)),
    }
