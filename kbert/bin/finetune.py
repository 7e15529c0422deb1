# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes a model to classify texts or pairs of texts.

Begins with the model of --init, whose encoder is trained further. The labels
are those of the training table. Runs on all visible GPUs, or on the
processor. The model is written to <output_dir>/model.
"""

import json
import pathlib

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import output, run, scoring, training_run

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
training_run.define(batch_size=32, learning_rate=5e-5)


def main(argv):
    """Reads the flags, trains, scores and saves the model."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert.checkpoints import folder
    from kbert.data import finetuning
    from kbert.tasks import classification

    initial = folder.load(_INIT.value)
    rows = _read(_TRAIN.value)
    spec = _spec(rows, initial.config)
    dev_rows = _read(_DEV.value) if _DEV.value else None
    examples = _tokenized(rows, spec, initial.vocabulary)
    dev = dev_rows and _tokenized(dev_rows, spec, initial.vocabulary)
    strategy = training_run.begin()
    with strategy.scope():
        model = _build(initial, spec)
        batch_size = flags.FLAGS.batch_size
        training_run.train(
            model,
            lambda step: finetuning.dataset(
                examples,
                batch_size=batch_size,
                seed=flags.FLAGS.seed,
                first_step=step,
            ),
            steps=_EPOCHS.value
            * finetuning.steps_per_epoch(examples, batch_size),
            losses=classification.losses(),
            metrics=classification.metrics(),
        )
        if dev:
            _score(scoring.examples_scores(model, dev, batch_size))
    path = pathlib.Path(flags.FLAGS.output_dir) / "model"
    folder.save(
        path,
        model,
        config=initial.config,
        vocabulary=initial.vocabulary,
        spec=spec,
    )
    print(f"{path}: the trained model")


def _read(path):
    from kbert.data import tables

    names = _TEXT_COLUMNS.value or []
    columns = shared.columns(names, 2 if len(names) == 2 else 1)
    return tables.read_table(path, columns, _LABEL_COLUMN.value)


def _spec(rows, config):
    from kbert import tasks

    labels = tuple(sorted(set(rows.labels)))
    if len(labels) < 2:
        raise ValueError(
            f"{rows.path}: every label is {labels[0]!r}; wanted two or more."
        )
    if _MAX_SEQ_LENGTH.value > config.max_position_embeddings:
        raise ValueError(
            f"--max_seq_length={_MAX_SEQ_LENGTH.value}; the model takes at "
            f"most {config.max_position_embeddings}."
        )
    return tasks.TaskSpec(
        task="classification",
        max_seq_length=_MAX_SEQ_LENGTH.value,
        labels=labels,
        num_texts=len(rows.texts),
    )


def _tokenized(rows, spec, vocabulary):
    from kbert.data import finetuning, tables
    from kbert.text.tokenizer import Tokenizer

    examples = finetuning.tokenized(
        rows,
        tables.label_ids(rows, spec.labels),
        tokenizer=Tokenizer(vocabulary),
        max_seq_length=spec.max_seq_length,
    )
    print(f"{rows.path}: {len(rows):,} rows, {examples.cut:,} of them cut")
    return examples


def _build(initial, spec):
    from kbert import tasks
    from kbert.checkpoints import folder

    config = training_run.with_dropout(initial.config)
    model = tasks.build(config, spec)
    training_run.tell_fresh(
        _INIT.value, folder.copy_weights(initial.model, model)
    )
    return model


def _score(scores):
    print(f"{_DEV.value}: {training_run.describe(scores)}")
    path = pathlib.Path(flags.FLAGS.output_dir) / "evaluation.json"
    output.write_text(path, json.dumps(scores, indent=2) + "\n")


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
