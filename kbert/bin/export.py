# SPDX-License-Identifier: Apache-2.0
"""Exports a model as a SavedModel that TensorFlow Serving takes as it is.

Writes <output_dir>/<version>/: graphs that take strings, warm-up requests, a
README with requests and answers, a model card. It is there when all of it is
written, and when a process without kbert has answered from it.

With --dtype=bfloat16 or --quantize=int8 the encoder's matrices have fewer
bits. What that costs is measured on --dev and told in the export's README.
"""

import pathlib

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import run

_MODEL = shared.model()
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder for all versions of the model.", required=True
)
_VERSION = flags.DEFINE_integer(
    "version",
    None,
    "A new version's number; by default one more than the highest there is.",
    lower_bound=1,
)
_MIN_SERVER = flags.DEFINE_string(
    "min_server",
    "2.12",
    "Version of the oldest TensorFlow Serving that is to load it.",
)
_LICENSE = flags.DEFINE_string(
    "license",
    None,
    "Of the weights, for the model card, such as apache-2.0; by default the "
    "names of the model's licence files.",
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16"],
    "Type of the matrix products; all else stays float32.",
)
_QUANTIZE = flags.DEFINE_enum(
    "quantize",
    None,
    ["int8"],
    "How the encoder's matrices are kept in the file. The server makes them "
    "float32 when it loads it.",
)
_DEV = flags.DEFINE_string(
    "dev",
    None,
    "A file as kbert-evaluate --input takes it, on which fewer bits are "
    "compared with float32.",
)
_READING = shared.reading(file_flag="dev")
_MAX_SCORE_DROP = flags.DEFINE_float(
    "max_score_drop",
    0.01,
    "By how much the task's score may be lower with fewer bits than in "
    "float32.",
    lower_bound=0.0,
)


def main(argv):
    """Reads the flags, exports and prints the version's folder."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert.checkpoints import folder
    from kbert.runs import model_card
    from kbert.serving import export, portability
    from kbert.serving.signatures import Signatures

    try:
        min_server = portability.parse_version(_MIN_SERVER.value)
    except ValueError as error:
        raise ValueError(f"--min_server={error}") from None
    loaded = folder.load(_MODEL.value)
    signatures = Signatures(
        loaded.model, vocabulary=loaded.vocabulary, spec=loaded.spec
    )
    signatures, about = _reduced(signatures)
    card = model_card.markdown(
        pathlib.Path(_MODEL.value), loaded, _LICENSE.value
    )
    found = export.export(
        signatures,
        _OUTPUT_DIR.value,
        version=_VERSION.value,
        min_server=min_server,
        about=about,
        files={**loaded.licences, "MODEL_CARD.md": card.encode()},
    )
    print(f"{found.path}: {found.num_bytes / 1e6:,.1f} MB")
    for name, (inputs, outputs) in found.signatures.items():
        print(f"  {name}: {', '.join(inputs)} -> {', '.join(outputs)}")


def _reduced(full):
    """The signatures to export, and what is to be said of their precision.

    Raises: ValueError if the score falls too far.
    """
    reading = _READING(bool(_DEV.value))
    bfloat16 = _DTYPE.value == "bfloat16"
    if bfloat16 and _QUANTIZE.value:
        raise ValueError("Give one of --dtype and --quantize.")
    if not bfloat16 and not _QUANTIZE.value:
        if _DEV.value:
            raise ValueError("--dev: only with --dtype or --quantize.")
        return full, ""
    kind = "bfloat16" if bfloat16 else _QUANTIZE.value
    flag = f"--{'dtype' if bfloat16 else 'quantize'}={kind}"
    from kbert.runs import jobs, precision
    from kbert.runs.jobs.job import JobOptions

    task = full.spec.task
    if task not in jobs.JOBS:
        raise ValueError(
            f"{flag}: {_MODEL.value} is a model for {task!r}, of which no "
            "score tells the cost; wanted one of kbert-finetune."
        )
    if not _DEV.value:
        raise ValueError(f"{flag} needs --dev, a file to measure its cost on.")
    reduced = precision.load(_MODEL.value, kind)
    job = jobs.JOBS[task](JobOptions(**reading))
    cost = precision.cost(full, reduced, job, _DEV.value)
    about = cost.markdown(kind)
    print(about)
    if cost.drop > _MAX_SCORE_DROP.value:
        raise ValueError(
            f"{flag}: {cost.metric} on {_DEV.value} falls by {cost.drop:.4f}, "
            f"more than --max_score_drop={_MAX_SCORE_DROP.value:g}."
        )
    return reduced, about


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
