# SPDX-License-Identifier: Apache-2.0
"""Exports a trained model as a SavedModel that takes strings.

Writes <output_dir>/<version>/ for TensorFlow Serving, or for
tf.saved_model.load in a program that has tensorflow_text.
"""

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


def main(argv):
    """Reads the flags, exports and prints the version's folder."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    import kbert
    from kbert.serving import export
    from kbert.serving.text_server import SIGNATURE

    server = kbert.load(_MODEL.value)
    if not isinstance(server, kbert.TextServer):
        raise ValueError(
            f"{_MODEL.value}: a model that fills in [MASK]s is not exported; "
            "wanted one of kbert-finetune."
        )
    path = export.export(server, _OUTPUT_DIR.value, _VERSION.value)
    outputs = server.signature().structured_outputs
    print(
        f"{path}: {SIGNATURE} takes {', '.join(server.text_inputs)} "
        f"and gives {', '.join(sorted(outputs))}"
    )


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
