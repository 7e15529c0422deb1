# SPDX-License-Identifier: Apache-2.0
"""Reads and writes KerasHub's BERT presets, as `save_to_preset` does.

config.json and model.weights.h5 are a BertBackbone, tokenizer.json and
assets/tokenizer/vocabulary.txt its tokenizer, task.json and task.weights.h5 a
BertTextClassifier or a BertMaskedLM. KerasHub reads and writes the weights;
the JSON files are read as data, and no code that they name is run.

KerasHub's encoder always has the tanh form of GELU and the norm epsilon 1e-12,
its masked-LM head the erf form and 1e-5.

Source: keras-hub 0.32, keras_hub/src/models/bert.
"""

import dataclasses
import os
import pathlib

import kagglehub
import keras
import keras_hub

from kbert import tasks
from kbert.checkpoints.folder import LoadedModel, read_licences
from kbert.checkpoints.foreign import Report, assign, new_folder
from kbert.checkpoints.hdf5_files import check_room
from kbert.checkpoints.keras_hub_files import (
    ENCODER,
    MASKED_LM,
    OTHER_CLEANING,
    read_files,
)
from kbert.checkpoints.keras_hub_weights import (
    build,
    check,
    fill,
    load_weights,
    sources,
)
from kbert.config import BertConfig
from kbert.tasks import TaskSpec, segment_note


def load(
    preset: str | os.PathLike,
    *,
    lower_case: bool | None = None,
    report: Report,
) -> LoadedModel:
    """Reads a preset.

    Args:
        preset: a folder, or the name of a preset, such as
            "bert_tiny_en_uncased" or "kaggle://keras/bert/keras/bert_base_en",
            which kagglehub downloads.
        lower_case: the casing; it must not contradict tokenizer.json.
        report: called with each message about what was read and left out.
    Raises: ValueError, naming the file, what was found and what is needed;
        OSError.
    """
    folder = _local_folder(preset)
    config, vocabulary, spec = read_files(folder, lower_case, report)
    report(OTHER_CLEANING)
    check(folder, config)
    theirs = build(config, spec)
    load_weights(folder, theirs)
    tensors = {v.path: v for v in theirs.weights}
    model = tasks.build(config, spec)
    assign(
        model,
        sources(config),
        names=tensors,
        read=lambda name: keras.ops.convert_to_numpy(tensors[name]),
        where=folder,
        report=report,
    )
    return LoadedModel(model, config, vocabulary, spec, read_licences(folder))


def save(
    loaded: LoadedModel, path: str | os.PathLike, *, report: Report
) -> None:
    """Writes a preset, atomically.

    An encoder becomes a BertBackbone, a classifier a BertTextClassifier, a
    masked-LM model a BertMaskedLM. A pre-training model becomes a BertMaskedLM,
    or a BertBackbone if its masked-LM head differs from KerasHub's.

    Args:
        loaded: the model.
        path: a new or an empty folder.
        report: called with each message about what a preset cannot store.
    Raises: ValueError, naming the field, if KerasHub would compute other
        outputs or cannot represent the tokens, or if `path` exists and is not
        an empty folder; OSError.
    """
    _check_representable(loaded)
    spec = _preset_spec(loaded, report)
    config = loaded.config
    if segment_note(config, loaded.spec):
        report("The one segment vector is written twice: a preset needs two.")
        config = dataclasses.replace(config, type_vocab_size=2)
    _report_lost(loaded, spec, report)
    tokenizer = keras_hub.tokenizers.BertTokenizer(
        list(loaded.vocabulary.tokens),
        lowercase=loaded.vocabulary.lower_case,
        strip_accents=loaded.vocabulary.strip_accents,
    )
    theirs = build(config, spec, tokenizer)
    fill(theirs, loaded, report)
    with new_folder(path) as folder:
        check_room(folder / "model.weights.h5", theirs)
        theirs.save_to_preset(str(folder))
        tokenizer.save_to_preset(str(folder))
        for name, licence in loaded.licences.items():
            (folder / name).write_bytes(licence)


def _local_folder(preset) -> pathlib.Path:
    folder = pathlib.Path(preset)
    if folder.is_dir():
        return folder
    name = str(preset)
    presets = keras_hub.models.BertBackbone.presets
    if name in presets:
        name = presets[name]["kaggle_handle"]
    if not name.startswith("kaggle://"):
        raise ValueError(
            f"{preset}: neither a folder nor one of KerasHub's presets: "
            f"kaggle://..., {', '.join(sorted(presets))}."
        )
    return pathlib.Path(
        kagglehub.model_download(name.removeprefix("kaggle://"))
    )


def _check_representable(loaded: LoadedModel):
    for name, needed in ENCODER.items():
        if (value := getattr(loaded.config, name)) != needed:
            tanh = ", the tanh form of GELU" if name == "hidden_act" else ""
            raise ValueError(
                f"{name} is {value!r}; KerasHub's BertBackbone has {needed!r}"
                f"{tanh} and nothing else."
            )
    if not loaded.vocabulary.tokenize_chinese_chars:
        raise ValueError(
            "tokenize_chinese_chars is False; KerasHub's presets have True."
        )
    for token in loaded.vocabulary.tokens:
        if token != token.rstrip():
            raise ValueError(
                f"{token!r} ends in white space, which KerasHub strips."
            )


def _preset_spec(loaded: LoadedModel, report: Report) -> TaskSpec:
    """Returns the spec of the part of a model that KerasHub supports."""
    spec = loaded.spec
    if spec.task in ("encoder", "classification"):
        return spec
    if spec.task not in ("pretraining", "masked_lm", "next_sentence"):
        raise ValueError(
            f"task is {spec.task!r}; KerasHub has no BERT model for it."
        )
    if spec.task != "masked_lm":
        report("The next-sentence output is left out: KerasHub has none.")
    task = "encoder"
    if spec.task != "next_sentence":
        reason = _other_masked_lm(loaded.config)
        if reason and spec.task == "masked_lm":
            raise ValueError(reason)
        if reason:
            report(f"The masked-LM output is left out: {reason}")
        else:
            task = "masked_lm"
    if task == "masked_lm":
        return dataclasses.replace(spec, task=task)
    return dataclasses.replace(
        spec, task=task, settings=spec.embedding_settings, embedding=None
    )


def _other_masked_lm(config: BertConfig) -> str:
    """Describes how KerasHub's masked-LM head differs; "" if it does not."""
    ours = {
        "mlm_hidden_act": config.mlm_hidden_act or config.hidden_act,
        "mlm_layer_norm_epsilon": (
            config.mlm_layer_norm_epsilon or config.layer_norm_epsilon
        ),
        "tie_word_embeddings": config.tie_word_embeddings,
    }
    for name, needed in {**MASKED_LM, "tie_word_embeddings": True}.items():
        if ours[name] != needed:
            return (
                f"{name} is {ours[name]!r}; KerasHub's BertMaskedLM has "
                f"{needed!r}."
            )
    return ""


def _report_lost(loaded: LoadedModel, preset: TaskSpec, report: Report):
    config, spec = loaded.config, loaded.spec
    kept = {
        "attention_probs_dropout_prob": config.hidden_dropout_prob,
        "initializer_range": 0.02,
    }
    for name, value in kept.items():
        if getattr(config, name) != value:
            report(f"{name}: KerasHub trains with {value}.")
    if spec.task == "classification" and spec.num_texts != 1:
        report(f"A preset has no field for num_texts, {spec.num_texts}.")
    for name, value in _settings_lost(config, preset):
        report(f"A preset has no field for {name}, {value}.")
    report(OTHER_CLEANING)
    if spec.labels:
        report(
            "A preset has no field for labels, in this order: "
            f"{', '.join(spec.labels)}."
        )


def _settings_lost(config: BertConfig, spec: TaskSpec):
    """Yields settings without a field that differ from kbert's defaults."""
    settings = dataclasses.asdict(spec.settings) if spec.settings else {}
    if spec.task == "encoder":  # other presets have a preprocessor
        settings["max_seq_length"] = spec.max_seq_length
    read_again = {
        "pooling": "mean",
        "normalize": False,
        "max_seq_length": config.max_position_embeddings,
        "threshold": 0.5,
        "long_texts": "truncate",
    }
    for name, value in settings.items():
        if value is not None and value != read_again.get(name, value):
            yield name, value
