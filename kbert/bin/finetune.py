# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes a model to classify texts or pairs of texts.

Begins with the model of --init, whose encoder is trained further. The labels
are those of the training table. Runs on all visible GPUs, or on the
processor. The model is written to <output_dir>/model.
"""

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import run, run_flags

_TRAIN = flags.DEFINE_string(
    "train", None, "A .tsv, .csv or .jsonl file to train on.", required=True
)
_DEV = flags.DEFINE_string("dev", None, "A table to score the model on.")
_TEXT_COLUMNS = shared.text_columns()
_LABEL_COLUMN = shared.label_column()
_INIT = flags.DEFINE_string(
    "init", None, "Folder of a kbert model to start from.", required=True
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", 3, "Passes over the training table.", lower_bound=1
)
_MAX_SEQ_LENGTH = flags.DEFINE_integer(
    "max_seq_length", 128, "Most tokens of a row; longer texts are cut."
)
run_flags.define(batch_size=32, learning_rate=5e-5)


def main(argv):
    """Reads the flags and the tables, trains, scores and saves the model."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    names = _TEXT_COLUMNS.value or []
    columns = shared.columns(names, 2 if len(names) == 2 else 1)
    from kbert.data import tables
    from kbert.runs.finetuning import finetune

    label = _LABEL_COLUMN.value
    dev = None
    if _DEV.value:
        dev = tables.read_table(_DEV.value, columns, label)
    finetune(
        init=_INIT.value,
        train=tables.read_table(_TRAIN.value, columns, label),
        dev=dev,
        epochs=_EPOCHS.value,
        max_seq_length=_MAX_SEQ_LENGTH.value,
        options=run_flags.options(),
    )


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
