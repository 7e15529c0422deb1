# SPDX-License-Identifier: Apache-2.0
"""Makes a kbert model of another library's, or another library's of kbert's.

Without --to it writes a kbert model of --input, whose format is recognized by
its files, or is that of --from. --to=FORMAT writes another library's model of
an --input of any format. FORMAT is one of

  huggingface   a folder as save_pretrained writes it: config.json, weights
                (a pickle needs PyTorch), tokenizer; both ways. So is one of
                sentence-transformers, with its pooling
  keras_hub     a KerasHub preset, a folder or, with --from, a name; both ways
  google        the TF1 checkpoints of google-research/bert; --lower_case is
                needed; only --from
  model_garden  checkpoints of tf-models-official; --lower_case is needed;
                only --from

What is read, missing or left out is printed. KerasHub's BertBackbone has the
tanh form of GELU alone; a model of another activation cannot go there.
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
    "Whose format --input has; by default its files say it.",
)
_TO = flags.DEFINE_enum(
    "to", None, ["huggingface", "keras_hub"], "Whose format --output gets."
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
    "Without --to: texts in an example of a classifier or a regression, 1 or "
    "2.",
)
_NUM_CHOICES = flags.DEFINE_integer(
    "num_choices", None, "Without --to: choices in an example, if no file says."
)
_NO_ANSWER = flags.DEFINE_boolean(
    "no_answer", None, "Without --to: whether a question may have no answer."
)


# What no file says of models for some tasks.
_OF_TASKS = (
    (_NUM_TEXTS, ("classification", "regression")),
    (_NUM_CHOICES, ("multiple_choice",)),
    (_NO_ANSWER, ("question_answering",)),
)


def main(argv):
    """Reads the flags, converts and prints what was read and left out."""
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

    folder.check_replaceable(_OUTPUT.value)  # before the work, not after
    loaded = _read()
    spec, model = _stated(loaded.spec), loaded.model
    if spec != loaded.spec:  # such as of more choices, with the same weights
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
    print(f"{_OUTPUT.value}: a kbert model, its task: {spec.task}")


def _read():
    """The foreign model at --input; prints what is said of it."""
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


def _stated(spec):
    """The spec with what the flags say of it."""
    for holder, names in _OF_TASKS:
        if holder.value is None:
            continue
        if spec.task not in names:
            raise ValueError(
                f"--{holder.name}: {_INPUT.value} is for {spec.task!r}; needs "
                f"a model for {' or '.join(names)}."
            )
        stated = {holder.name: holder.value}
        if holder is not _NUM_TEXTS:
            stated = {"settings": dataclasses.replace(spec.settings, **stated)}
        try:
            spec = dataclasses.replace(spec, **stated)
        except ValueError as error:
            raise ValueError(f"--{holder.name}: {error}") from None
    return spec


def _export(foreign):
    from kbert.checkpoints import formats

    for holder, _ in _OF_TASKS:
        if holder.value is not None:
            raise app.UsageError(f"--{holder.name} does not go with --to.")
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
