# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the files that sentence-transformers adds to a folder.

    modules.json                        the sequence of modules
    sentence_bert_config.json           in the model's folder: max_seq_length
    1_Pooling/config.json               the pooling of token vectors
    2_Dense/config.json, ...            optional: a dense layer; any number
    3_Normalize/config.json             optional, since version 6
    config_sentence_transformers.json   prompts, and the class of the model

kbert supports a Transformer, one mode of Pooling, Dense modules and Normalize,
in this order. All other modules and settings that change a vector are refused
by name.

Source: sentence-transformers 6.2.0, base/model.py, base/modules and
    sentence_transformer/modules/pooling.py, which also read older folders.
"""

import dataclasses
import functools
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import safetensors.numpy

from kbert import json_files
from kbert.checkpoints import tensor_files
from kbert.checkpoints.foreign import Report
from kbert.config import BertConfig
from kbert.models import POOLINGS
from kbert.tasks import TaskSpec
from kbert.tasks.embedding.settings import EncoderSettings, Settings

MODULES = "modules.json"
_SENTENCE = "sentence_bert_config.json"
_MODEL = "config_sentence_transformers.json"
_CONFIG = "config.json"
_MODULE = re.compile(r"\d+_\w+")  # a folder, such as 0_Transformer

_BI_ENCODER, _CROSS_ENCODER = "SentenceTransformer", "CrossEncoder"
# Before version 6 each is a boolean; since then there is a name or a list.
_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_DIMENSIONS = ("embedding_dimension", "word_embedding_dimension")
# Fields that have no effect with these values, or if they are missing.
_POOLING_MUST_BE = {"include_prompt": True}
_NORMALIZE_MUST_BE = {
    "module_input_name": "sentence_embedding",
    "module_output_name": "sentence_embedding",
}
_TRANSFORMER_MUST_BE = {
    **dict.fromkeys(("model_args", "model_kwargs"), {}),
    **dict.fromkeys(("config_args", "config_kwargs"), {}),
    **dict.fromkeys(("tokenizer_args", "processor_kwargs"), {}),
    **{"processing_kwargs": {}, "tokenizer_name_or_path": None},
    **{"query_length": None, "document_length": None, "query_expansion": None},
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
}
_TRANSFORMER_USES = (
    *("max_seq_length", "do_lower_case", "modality_config"),
    "unpad_inputs",  # has no effect on the result
)
_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": "linear",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu_erf",
}
# Prompts before documents, of which the first that there is counts.
_DOCUMENTS = ("document", "passage", "corpus")
_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}


class _DenseConfig(TypedDict):
    """The config.json of a Dense module."""

    in_features: int
    out_features: int
    bias: NotRequired[bool]
    activation_function: NotRequired[str]


@dataclasses.dataclass(frozen=True)
class Wrapping:
    """The settings of sentence-transformers for a Hugging Face model.

    Attributes:
        transformer: the folder of the Hugging Face model.
        root: the folder of all modules: the same, or its parent.
        settings: how vectors are made, or None without a Pooling module:
            Settings with Dense modules or prompts, else EncoderSettings.
        tensors: functions that read the weights of the dense layers, by names
            such as "dense.0.weight".
        max_seq_length: maximum tokens per text, or None if the tokenizer's
            limit applies.
        lower_case: whether texts are lower-cased before the tokenizer.
        width: (file and field, the encoder's width there), if given.
        fields: of config.json that the files of a CrossEncoder replace.
    """

    transformer: pathlib.Path
    root: pathlib.Path
    settings: EncoderSettings | None = None
    tensors: tensor_files.Tensors = dataclasses.field(default_factory=dict)
    max_seq_length: int | None = None
    lower_case: bool = False
    width: tuple[str, Any] | None = None
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def check(self, config: BertConfig) -> None:
        """Checks the settings against the Hugging Face model.

        Raises: ValueError, naming the file and the field.
        """
        if self.lower_case and not config.lower_case:
            raise ValueError(
                f"{self.transformer / _SENTENCE}: do_lower_case is true, but "
                "the tokenizer is cased."
            )
        if self.width and self.width[1] != config.hidden_size:
            where, width = self.width
            raise ValueError(
                f"{where} is {width!r}, but hidden_size is "
                f"{config.hidden_size}."
            )

    def spec(self, spec: TaskSpec, report: Report) -> TaskSpec:
        """Returns the spec of the Hugging Face model with these settings.

        Args:
            spec: the spec of the model, whose max_seq_length is the maximum.
            report: called with each message about what was read.
        """
        length = self.max_seq_length
        if length is not None:
            if length > spec.max_seq_length:
                report(
                    f"{_SENTENCE}: max_seq_length {length}: the model takes at "
                    f"most {spec.max_seq_length} tokens."
                )
            length = min(length, spec.max_seq_length)
            spec = dataclasses.replace(spec, max_seq_length=length)
        if self.settings:
            trained = isinstance(self.settings, Settings)
            spec = dataclasses.replace(
                spec,
                task="embedding" if trained else "encoder",
                settings=self.settings,
                embedding=None,
            )
            report(
                f"{MODULES}: {_described(self.settings)}, at most "
                f"{spec.max_seq_length} tokens."
            )
        return spec


def _described(settings: Any) -> str:
    parts = [f"{settings.pooling} pooling"]
    if isinstance(settings, Settings):
        parts += [f"dense {layer}" for layer in settings.dense]
        prompts = (settings.query_prompt, settings.document_prompt)
        parts += [f"prompts {' and '.join(map(repr, prompts))}"] * any(prompts)
    parts += ["vectors of length 1"] * settings.normalize
    return ", ".join(parts)


def read(folder: pathlib.Path, report: Report) -> Wrapping:
    """Reads the settings of sentence-transformers, if there are any.

    Args:
        folder: the folder of modules.json, that of its Transformer, or that of
            a plain Hugging Face model.
        report: called with each message about what kbert ignores.
    Raises: ValueError, naming the file and what kbert cannot represent;
        OSError.
    """
    root = _root(folder)
    if root is None:
        _check_whole(folder)
        return _transformer(folder, folder, report)
    if root != folder:
        report(f"{folder.name} is a module of {root / MODULES}: read with it.")
    fields = _optional(root / _MODEL)
    kind = fields.get("model_type") or _BI_ENCODER
    if kind not in (_BI_ENCODER, _CROSS_ENCODER):
        raise ValueError(
            f"{root / _MODEL}: model_type is {kind!r}, which kbert cannot "
            "represent yet."
        )
    modules = _modules(root)
    of_pairs = kind == _CROSS_ENCODER
    wrapping = _transformer(modules[0][1], root, report, of_pairs)
    if of_pairs:
        _check_kinds(root, modules, ("Transformer",))
        activation = {"activation_fn": fields.get("activation_fn")}
        replaced = {"sentence_transformers": activation}
        return dataclasses.replace(wrapping, fields=replaced)
    settings, tensors, width = _vectors(root, modules, fields, report)
    return dataclasses.replace(
        wrapping, settings=settings, tensors=tensors, width=width
    )


def _vectors(root, modules, fields, report):
    """Reads how texts become vectors: the fields of `Wrapping` about it."""
    prompts = _prompts(root / _MODEL, fields, report)
    similarity = fields.get("similarity_fn_name") or "cosine"
    if similarity != "cosine":
        report(f"{_MODEL}: {similarity!r} is not used: kbert compares cosines.")
    normalizes = modules[-1][0] == "Normalize"
    dense = modules[2 : len(modules) - normalizes]
    kinds = ["Transformer", "Pooling"] + ["Dense"] * len(dense)
    _check_kinds(root, modules, (*kinds, "Normalize"))
    pooling, width = _pooling(modules[1][1] / _CONFIG)
    if normalizes:
        _check_fields(modules[-1][1] / _CONFIG, _NORMALIZE_MUST_BE)
    layers, tensors = _dense(dense)
    settings = EncoderSettings(pooling=pooling, normalize=normalizes)
    if layers or any(prompts):
        settings = Settings(
            **dataclasses.asdict(settings),
            dense=layers,
            query_prompt=prompts[0],
            document_prompt=prompts[1],
        )
    return settings, tensors, width


def _dense(modules) -> tuple[tuple[str, ...], tensor_files.Tensors]:
    """Reads the Dense modules: their layers, and their tensors by name."""
    layers, tensors = [], {}
    for index, (_, path) in enumerate(modules):
        file = path / _CONFIG
        _check_fields(file, {**_NORMALIZE_MUST_BE, "use_residual": False})
        fields = json_files.read(file, _DenseConfig, others=Any)
        name = fields.get(
            "activation_function", "torch.nn.modules.activation.Tanh"
        )
        if name not in _ACTIVATIONS:
            raise ValueError(
                f"{file}: activation_function is {name!r}, which kbert cannot "
                f"represent yet; needs one of {', '.join(_ACTIVATIONS)}."
            )
        size = fields["out_features"]
        layers.append(f"{size}:{_ACTIVATIONS[name]}")
        where, found = tensor_files.open_folder(path)
        if "linear.weight" not in found:
            raise ValueError(f"{where}: no linear.weight.")
        shape = found["linear.weight"]().shape
        if shape != (size, fields["in_features"]):
            raise ValueError(
                f"{where}: linear.weight has the shape {shape}; {_CONFIG} has "
                f"out_features {size} and in_features {fields['in_features']}."
            )
        tensors[f"dense.{index}.weight"] = found["linear.weight"]
        bias = found.get("linear.bias", functools.partial(_zeros, size))
        tensors[f"dense.{index}.bias"] = bias
    return tuple(layers), tensors


def _zeros(size):
    return np.zeros(size, np.float32)


def write(
    folder: pathlib.Path,
    spec: TaskSpec,
    width: int,
    tensors: Mapping[str, np.ndarray],
) -> None:
    """Writes the files for which sentence-transformers gives kbert's vectors.

    Writes nothing for the plain mean of an encoder, which is
    sentence-transformers' default.

    Args:
        folder: the folder of the Hugging Face model.
        spec: the spec of an encoder or an embedding model.
        width: the width of the encoder's vectors.
        tensors: the weights of the dense layers, named as `Wrapping` has them.
    """
    settings = spec.settings
    if settings == EncoderSettings():
        return
    modules: list[tuple[str, Any]] = [
        ("Pooling", _pooling_config(settings.pooling, width))
    ]
    layers = _dense_layers(settings, width, tensors)
    modules += [("Dense", config) for config, _ in layers]
    modules += [("Normalize", None)] if settings.normalize else []
    listed = [_listed(0, "Transformer", "")]
    for index, (kind, config) in enumerate(modules, start=1):
        path = f"{index}_{kind}"
        listed.append(_listed(index, kind, path))
        (folder / path).mkdir()
        if config is not None:
            _write(folder / path / _CONFIG, config)
    for index, (_, weights) in enumerate(layers, start=2):
        file = folder / f"{index}_Dense" / tensor_files.SAFETENSORS
        safetensors.numpy.save_file(weights, file, {"format": "pt"})
    _write(folder / MODULES, listed)
    # The tokenizer lower-cases.
    sentence = {"max_seq_length": spec.max_seq_length, "do_lower_case": False}
    _write(folder / _SENTENCE, sentence)
    if isinstance(settings, Settings):
        prompts = settings.query_prompt, settings.document_prompt
        content = {
            "prompts": dict(zip(("query", "document"), prompts, strict=True)),
            "default_prompt_name": "query" if _is_one(prompts) else None,
            "similarity_fn_name": "cosine",
        }
        _write(folder / _MODEL, content)


def _is_one(prompts) -> bool:
    """Whether all texts have the same prompt."""
    return prompts[0] == prompts[1] != ""


def _write(file, content):
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8")


def _listed(index, kind, path) -> dict[str, Any]:
    # The names before version 6, which later versions accept.
    return {
        "idx": index,
        "name": str(index),
        "path": path,
        "type": f"sentence_transformers.models.{kind}",
    }


def _pooling_config(pooling, width) -> dict[str, Any]:
    modes = {
        name: mode == pooling
        for name, mode in _POOLINGS.items()
        if mode in POOLINGS
    }
    return {**modes, "word_embedding_dimension": width}


def _dense_layers(
    settings, width, tensors
) -> Sequence[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """The config and the weights of each Dense module."""
    if not isinstance(settings, Settings):
        return []
    names = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
    layers = []
    for index, (size, activation) in enumerate(settings.dense_layers):
        kinds = ("weight", "bias")
        weights = {f"linear.{x}": tensors[f"dense.{index}.{x}"] for x in kinds}
        layers.append((size, names[activation], weights))
        width = size
    if settings.dimensions:  # as a product with a part of the identity
        kept = np.eye(settings.dimensions, layers[-1][0] if layers else width)
        weights = {"linear.weight": kept.astype(np.float32)}
        layers.append((len(kept), names["linear"], weights))
    return [
        (
            {
                "in_features": weights["linear.weight"].shape[1],
                "out_features": size,
                "bias": "linear.bias" in weights,
                "activation_function": activation,
            },
            weights,
        )
        for size, activation, weights in layers
    ]


def _root(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder with the modules.json that a folder belongs to."""
    if (folder / MODULES).is_file():
        return folder
    here = pathlib.Path(os.path.abspath(folder))
    above = here.parent
    # Other parents may have an unrelated modules.json.
    if not _MODULE.fullmatch(here.name) or not (above / MODULES).is_file():
        return None
    for kind, path in _modules(above):
        if pathlib.Path(os.path.abspath(path)) == here:
            if kind == "Transformer":
                return above
            raise ValueError(
                f"{folder}: the module {kind} of {above / MODULES}; give the "
                f"whole model, {above}."
            )
    return None


def _check_whole(folder):
    """Checks that a folder without modules.json has no modules."""
    if not folder.is_dir():
        return
    parts = sorted(path.parent.name for path in folder.glob("*_Pooling/*.json"))
    if parts:
        raise ValueError(
            f"{folder}: {parts[0]}, but no {MODULES}: an incomplete "
            "sentence-transformers model."
        )


def _modules(root) -> list[tuple[str, pathlib.Path]]:
    """Returns the kind and the folder of each module, in their order."""
    file = root / MODULES
    found = []
    for module in json_files.read(file, list[dict[str, Any]]):
        kind, path = module.get("type"), module.get("path")
        if not isinstance(kind, str) or not isinstance(path, str):
            raise ValueError(f"{file}: a module without a type or a path.")
        parts = pathlib.PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts:
            raise ValueError(
                f"{file}: path is {path!r}; needs one inside the folder."
            )
        if not kind.startswith("sentence_transformers."):
            raise ValueError(
                f"{file}: type is {kind!r}, custom code, which kbert does not "
                "run."
            )
        found.append((kind.rpartition(".")[2], root / path))
    if not found or found[0][0] != "Transformer":
        first = found[0][0] if found else "none"
        raise ValueError(
            f"{file}: the first module is {first}; kbert needs a Transformer."
        )
    return found


def _check_kinds(root, modules, allowed):
    """Checks that modules are those of `allowed`; the last one is optional."""
    kinds = [kind for kind, _ in modules]
    for position, kind in enumerate(kinds):
        if kind not in allowed[position : position + 1]:
            raise ValueError(
                f"{root / MODULES}: module {position} is {kind}, which kbert "
                f"cannot represent yet; needs {', '.join(allowed)}."
            )
    if len(kinds) < min(2, len(allowed)):
        raise ValueError(
            f"{root / MODULES}: no Pooling; needs one for the vector of a text."
        )


def _transformer(folder, root, report, of_pairs=False) -> Wrapping:
    file = folder / _SENTENCE
    fields = _optional(file)
    must_be = dict(_TRANSFORMER_MUST_BE)
    if of_pairs:
        must_be |= {
            "transformer_task": "sequence-classification",
            "module_output_name": "scores",
        }
    else:
        text = fields.get("modality_config")
        text = text.get("text", _TEXT) if isinstance(text, dict) else _TEXT
        if text != _TEXT:
            raise ValueError(
                f"{file}: modality_config has text {text!r}; needs {_TEXT}."
            )
    _check_fields(file, must_be)
    if unused := sorted(fields.keys() - {*must_be, *_TRANSFORMER_USES}):
        report(f"{_SENTENCE}: not used: {', '.join(unused)}.")
    length = fields.get("max_seq_length")
    if length is not None and (type(length) is not int or length < 3):
        raise ValueError(
            f"{file}: max_seq_length is {length!r}; needs a whole number, 3 or "
            "more."
        )
    lower_case = fields.get("do_lower_case") or False
    if not isinstance(lower_case, bool):
        raise ValueError(
            f"{file}: do_lower_case is {lower_case!r}; needs true or false."
        )
    return Wrapping(
        folder,
        root,
        max_seq_length=length,
        lower_case=lower_case,
    )


def _pooling(file) -> tuple[Any, tuple[str, Any] | None]:
    """Returns the mode, and the width of the vectors with its field."""
    fields = json_files.read(file)
    _check_fields(file, _POOLING_MUST_BE)
    known = {*_POOLINGS, *_DIMENSIONS, *_POOLING_MUST_BE, "pooling_mode"}
    if unknown := sorted(fields.keys() - known):
        raise ValueError(f"{file}: unknown fields {unknown}.")
    modes = fields.get("pooling_mode")
    if modes is None:
        modes = [mode for name, mode in _POOLINGS.items() if fields.get(name)]
    modes = [modes] if isinstance(modes, str) else modes or ["mean"]
    if not isinstance(modes, list) or {type(mode) for mode in modes} != {str}:
        raise ValueError(f"{file}: pooling_mode is {modes!r}; needs a name.")
    if len(modes) > 1:
        raise ValueError(
            f"{file}: {' and '.join(modes)} pooling concatenated, which kbert "
            "cannot represent yet."
        )
    if modes[0] not in POOLINGS:
        raise ValueError(
            f"{file}: {modes[0]} pooling, which kbert cannot represent yet; "
            f"needs one of {', '.join(POOLINGS)}."
        )
    for name in _DIMENSIONS:
        if fields.get(name) is not None:
            return modes[0], (f"{file}: {name}", fields[name])
    return modes[0], None


def _prompts(file, fields, report) -> tuple[str, str]:
    """Returns what is put before a query, and before a document."""
    default, prompts = fields.get("default_prompt_name"), fields.get("prompts")
    prompts = {} if prompts is None else prompts
    if not isinstance(prompts, dict):
        raise ValueError(f"{file}: prompts is {prompts!r}; needs an object.")
    for name, text in prompts.items():
        if not isinstance(text, str | None):
            raise ValueError(
                f"{file}: prompts has {name} {text!r}; needs a text."
            )
    of_documents = [name for name in _DOCUMENTS if name in prompts][:1]
    used = ["query", *of_documents]
    found = [prompts.get(name) or "" for name in used]
    query, document = (*found, "")[:2]
    if default is not None and prompts.get(str(default)) != "":
        if not _is_one((query, document)):
            raise ValueError(
                f"{file}: default_prompt_name is {default!r}: a prompt before "
                "each text, which kbert cannot represent unless queries and "
                "documents have the same."
            )
    others = [name for name in prompts if prompts[name] and name not in used]
    if others:
        report(
            f"{_MODEL}: prompts {', '.join(sorted(others))} are left out: put "
            "them before your texts."
        )
    return query, document


def _check_fields(file, must_be: Mapping[str, Any]):
    fields = _optional(file)
    for name, needed in must_be.items():
        value = fields.get(name)
        # An empty object has no effect, like null.
        if value not in (None, {}, needed):
            raise ValueError(
                f"{file}: {name} is {value!r}, which kbert cannot represent "
                "yet."
            )


def _optional(file) -> dict[str, Any]:
    return json_files.read(file) if file.is_file() else {}
