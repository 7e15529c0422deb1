# SPDX-License-Identifier: Apache-2.0
"""Exports a model as a SavedModel for TensorFlow Serving.

Writes <output_dir>/<version>/: graphs that take strings, warm-up requests, a
README with requests and answers, a model card. The folder appears when it is
complete, and after a process without kbert has answered requests from it.

With --dtype=bfloat16 or --quantize=int8 the encoder's matrices have reduced
precision. The loss in score is measured on --dev and reported in the export's
README.
"""

import dataclasses
import functools
import pathlib
import sys

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import run

_MODEL = shared.model()
_LOWER_CASE = shared.lower_case()
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder for all versions of the model.", required=True
)
_VERSION = flags.DEFINE_integer(
    "version",
    None,
    "Number of the new version; by default the highest version plus one.",
    lower_bound=1,
    upper_bound=2**63 - 1,  # the maximum of a server
)
_MIN_SERVER = flags.DEFINE_string(
    "min_server",
    "2.12",
    "Version of the oldest TensorFlow Serving that must load it.",
)
_AGGREGATION = shared.aggregation()
_LICENSE = flags.DEFINE_string(
    "license",
    None,
    "Licence of the weights, for the model card, such as apache-2.0; by "
    "default the names of the model's licence files.",
)
_LANGUAGE = flags.DEFINE_list(
    "language",
    [],
    "Language codes of the texts, such as en, for the model card.",
)
_DATASETS = flags.DEFINE_list(
    "datasets",
    [],
    "Names of the training data sets, such as glue, for the model card.",
)
_SAMPLE_TEXT = flags.DEFINE_multi_string(
    "sample_text",
    [],
    "A text for the request in the export's README; give the flag once for "
    "each text of a row. By default a neutral text.",
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16"],
    "Type of the encoder's matrix products and of its matrices in the file.",
)
_QUANTIZE = flags.DEFINE_enum(
    "quantize",
    "float32",
    ["float32", "int8"],
    "Type of the encoder's matrices in the file. The server converts them to "
    "float32 when it loads the file.",
)
_DEV = flags.DEFINE_string(
    "dev",
    None,
    "A file for kbert-evaluate --input, on which reduced precision is compared "
    "with float32.",
)
_READING = shared.reading(file_flag="dev")
_MAX_SCORE_DROP = flags.DEFINE_float(
    "max_score_drop",
    0.01,
    "Maximum loss in the task's score with reduced precision.",
    lower_bound=0.0,
)


def main(argv):
    """Exports the model and prints the version's folder."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert import tasks
    from kbert.checkpoints import formats
    from kbert.runs import model_card
    from kbert.runs.progress import Progress
    from kbert.serving import export, portability
    from kbert.serving.signatures import Signatures

    try:
        min_server = portability.parse_version(_MIN_SERVER.value)
    except ValueError as error:
        raise ValueError(f"--min_server={error}") from None
    reading, precision = _READING(bool(_DEV.value)), _precision()
    loaded = formats.load(_MODEL.value, lower_case=_LOWER_CASE.value)
    if note := tasks.segment_note(loaded.config, loaded.spec):
        print(f"{_MODEL.value}: {note}", file=sys.stderr)
    spec = loaded.spec.with_settings(**_AGGREGATION())
    loaded = dataclasses.replace(loaded, spec=spec)
    about = ""
    if precision != "float32":
        loaded, signatures, about = _reduced(loaded, precision, reading)
    else:
        signatures = Signatures(
            loaded.model, vocabulary=loaded.vocabulary, spec=loaded.spec
        )
    card = model_card.markdown(
        pathlib.Path(_MODEL.value),
        loaded,
        _LICENSE.value,
        language=_LANGUAGE.value,
        datasets=_DATASETS.value,
        precision=precision,
    )
    found = export.export(
        signatures,
        _OUTPUT_DIR.value,
        version=_VERSION.value,
        min_server=min_server,
        sample_texts=_SAMPLE_TEXT.value,
        about=about,
        files={**loaded.licences, "MODEL_CARD.md": card.encode()},
        progress=functools.partial(Progress(), "exporting"),
    )
    print(f"{found.path}: {found.num_bytes / 1e6:,.1f} MB")
    for name, (inputs, outputs) in found.signatures.items():
        print(f"  {name}: {', '.join(inputs)} -> {', '.join(outputs)}")


def _precision():
    """Returns float32, or the value of --dtype or --quantize."""
    reduced = [x for x in (_DTYPE, _QUANTIZE) if x.value != "float32"]
    if len(reduced) > 1:
        raise ValueError("Give one of --dtype and --quantize.")
    for holder in reduced:
        if not _DEV.value:
            raise ValueError(
                f"--{holder.name}={holder.value} needs --dev, a file to "
                "measure the loss in score on."
            )
        return holder.value
    for holder in (_DEV, _MAX_SCORE_DROP):
        if holder.value != holder.default:
            raise ValueError(
                f"--{holder.name}: only with --dtype=bfloat16 or --quantize."
            )
    return "float32"


def _reduced(loaded, precision, reading):
    from kbert import tasks
    from kbert.runs import precision as precisions
    from kbert.tasks.rows import DataOptions

    task = loaded.spec.task
    if task not in tasks.FINE_TUNED:
        raise ValueError(
            f"{_MODEL.value}: a model for {task!r} has no score to measure "
            f"the loss by {precision}; needs one of kbert-finetune."
        )
    return precisions.reduce(
        loaded,
        precision,
        options=DataOptions(**reading),
        dev=_DEV.value,
        max_drop=_MAX_SCORE_DROP.value,
    )


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
