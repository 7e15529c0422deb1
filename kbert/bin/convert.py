# SPDX-License-Identifier: Apache-2.0
"""Makes a kbert model of another library's.

--from=huggingface reads a folder of config.json, vocab.txt and
model.safetensors: a BERT's encoder and pooler. kbert-finetune --init takes the
result.
"""

from absl import app, flags

from kbert.bin import run

_FROM = flags.DEFINE_enum(
    "from", None, ["huggingface"], "Whose format --input has.", required=True
)
_INPUT = flags.DEFINE_string(
    "input", None, "Folder of the other library's model.", required=True
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the kbert model.", required=True
)
_LOWER_CASE = flags.DEFINE_boolean(
    "lower_case", None, "Casing of the vocabulary, if --input does not say."
)


def main(argv):
    """Reads the flags, converts and prints what was read and left out."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert.checkpoints import folder, huggingface

    loaded = huggingface.load(
        _INPUT.value, lower_case=_LOWER_CASE.value, report=print
    )
    folder.save(
        _OUTPUT.value,
        loaded.model,
        config=loaded.config,
        vocabulary=loaded.vocabulary,
        spec=loaded.spec,
    )
    print(f"{_OUTPUT.value}: the encoder as a kbert model")


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
