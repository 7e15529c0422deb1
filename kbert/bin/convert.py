# SPDX-License-Identifier: Apache-2.0
"""Converts models of other libraries to kbert, and models to other libraries.

Without --to it converts --input to a kbert model; the format is recognized by
the files, or given by --from. With --to=FORMAT it converts a model of any
format to that of another library. FORMAT is one of

  huggingface   a folder as save_pretrained writes it: config.json, weights
                (a pickle needs PyTorch), tokenizer; --from and --to. Also a
                folder of sentence-transformers, with its pooling
  keras_hub     a KerasHub preset, a folder or, with --from, a name; --from
                and --to
  google        TF1 checkpoints of google-research/bert; needs --lower_case;
                only --from
  model_garden  checkpoints of tf-models-official; needs --lower_case; only
                --from

Prints what was read, missing or left out. KerasHub's BertBackbone has the tanh
form of GELU only; a model with another activation cannot be converted to it.
"""

import dataclasses
import importlib

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import run

_FROM = flags.DEFINE_enum(
    "from",
    None,
    ["huggingface", "keras_hub", "google", "model_garden"],
    "Format of --input; by default recognized by its files.",
)
_TO = flags.DEFINE_enum(
    "to", None, ["huggingface", "keras_hub"], "Format of --output."
)
_INPUT = flags.DEFINE_string(
    "input", None, "The model to convert.", required=True
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the converted model.", required=True
)
_LOWER_CASE = shared.lower_case()
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts",
    None,
    "Without --to: texts per example of a classifier or a regression, 1 or 2.",
)
_NUM_CHOICES = flags.DEFINE_integer(
    "num_choices",
    None,
    "Without --to: choices per example, if no file gives the number.",
)
_NO_ANSWER = flags.DEFINE_boolean(
    "no_answer", None, "Without --to: whether questions may have no answer."
)


# Settings that no file of a foreign model has, and their tasks.
_TASK_SETTINGS = (
    (_NUM_TEXTS, ("classification", "regression")),
    (_NUM_CHOICES, ("multiple_choice",)),
    (_NO_ANSWER, ("question_answering",)),
)


def main(argv):
    """Converts the model and prints what was read and left out."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    if _FROM.value and _TO.value:
        raise app.UsageError("Give one of --from and --to.")
    if _TO.value:
        _export(importlib.import_module(f"kbert.checkpoints.{_TO.value}"))
    else:
        _import()


def _import():
    from kbert import tasks
    from kbert.checkpoints import folder

    folder.check_replaceable(_OUTPUT.value)  # fails before the work starts
    loaded = _read()
    spec, model = _with_settings(loaded.spec), loaded.model
    if spec != loaded.spec:  # such as more choices, with the same weights
        model = tasks.build(loaded.config, spec)
        folder.copy_weights(loaded.model, model)
    folder.save(
        _OUTPUT.value,
        model,
        config=loaded.config,
        vocabulary=loaded.vocabulary,
        spec=spec,
        licences=loaded.licences,
    )
    if note := tasks.segment_note(loaded.config, spec):
        print(note)
    print(f"{_OUTPUT.value}: a kbert model for the task {spec.task}")


def _read():
    """Reads the foreign model of --input; prints the reader's messages."""
    if _FROM.value:
        foreign = importlib.import_module(f"kbert.checkpoints.{_FROM.value}")
        return foreign.load(
            _INPUT.value, lower_case=_LOWER_CASE.value, report=print
        )
    from kbert.checkpoints import formats

    loaded, lines = formats.read(_INPUT.value, lower_case=_LOWER_CASE.value)
    if lines == [formats.KBERT.name]:
        raise ValueError(
            f"{_INPUT.value}: is a kbert model already; needs --to, or a model "
            "of another library."
        )
    lines[0] = f"{_INPUT.value}: {lines[0]}"
    print(*lines, sep="\n")
    return loaded


def _with_settings(spec):
    """Returns the spec with the settings of the flags."""
    for holder, names in _TASK_SETTINGS:
        if holder.value is None:
            continue
        if spec.task not in names:
            raise ValueError(
                f"--{holder.name}: {_INPUT.value} is for {spec.task!r}; needs "
                f"a model for {' or '.join(names)}."
            )
        change = {holder.name: holder.value}
        if holder is not _NUM_TEXTS:
            change = {"settings": dataclasses.replace(spec.settings, **change)}
        try:
            spec = dataclasses.replace(spec, **change)
        except ValueError as error:
            raise ValueError(f"--{holder.name}: {error}") from None
    return spec


def _export(foreign):
    from kbert.checkpoints import formats

    for holder, _ in _TASK_SETTINGS:
        if holder.value is not None:
            raise app.UsageError(f"--{holder.name} cannot be used with --to.")
    loaded = formats.load(_INPUT.value, lower_case=_LOWER_CASE.value)
    try:
        foreign.save(loaded, _OUTPUT.value, report=print)
    except ValueError as error:
        raise ValueError(f"{_INPUT.value}: not converted: {error}") from None
    print(f"{_OUTPUT.value}: {loaded.spec.task} in the {_TO.value} format")


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
