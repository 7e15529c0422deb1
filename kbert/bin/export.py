# SPDX-License-Identifier: Apache-2.0
"""Exports a model as a SavedModel that TensorFlow Serving takes as it is.

Writes <output_dir>/<version>/: graphs that take strings, warm-up requests, a
README with requests and answers, a model card. It is there when all of it is
written, and when a process without kbert has answered from it.
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


def main(argv):
    """Reads the flags, exports and prints the version's folder."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert.checkpoints import folder
    from kbert.runs import model_card
    from kbert.serving import export, portability

    try:
        min_server = portability.parse_version(_MIN_SERVER.value)
    except ValueError as error:
        raise ValueError(f"--min_server={error}") from None
    loaded = folder.load(_MODEL.value)
    card = model_card.markdown(
        pathlib.Path(_MODEL.value), loaded, _LICENSE.value
    )
    found = export.export(
        loaded.model,
        _OUTPUT_DIR.value,
        vocabulary=loaded.vocabulary,
        spec=loaded.spec,
        version=_VERSION.value,
        min_server=min_server,
        files={**loaded.licences, "MODEL_CARD.md": card.encode()},
    )
    print(f"{found.path}: {found.num_bytes / 1e6:,.1f} MB")
    for name, (inputs, outputs) in found.signatures.items():
        print(f"  {name}: {', '.join(inputs)} -> {', '.join(outputs)}")


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
