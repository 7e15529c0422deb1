# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes a model for a task.

    classification       texts or pairs, each with a class, or several
    regression           texts or pairs, each with a number
    tagging              words with tags, in CoNLL's columns: entities
    question_answering   questions whose answers are spans of a paragraph, in
                         SQuAD's JSON (1.1, or 2.0, where some have none)
    multiple_choice      texts, each with several choices, one of them right
    summarization        documents, some of whose sentences tell the most

Begins with the model of --init, whose encoder is trained further. It may be of
another library: kbert-convert is not needed before. The labels are those of the
training file. Runs on all visible GPUs, or on the processor.
The model is written to <output_dir>/model; with --dev, its scores to
evaluation.json, and to report/ what it is good and bad at: tables by class and
by length, and the worst rows.
"""

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import run, run_flags, task_flags

_TRAIN = flags.DEFINE_string(
    "train",
    None,
    "A .tsv, .csv, .jsonl or .parquet file to train on, zipped (.csv.gz) or "
    "not; for tagging a CoNLL one, for questions SQuAD's JSON.",
    required=True,
)
_DEV = flags.DEFINE_string("dev", None, "A file to score the model on.")
_DEV_SHARE = flags.DEFINE_float(
    "dev_share",
    None,
    "Instead of --dev: the share of the rows of --train, about, that is held "
    "out to score the model on, such as 0.1. Whether a row is depends on its "
    "texts alone: rows of equal texts stay together.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_READING = shared.reading()
_INIT = flags.DEFINE_string(
    "init", None, f"The model to start from: {shared.FORMATS}.", required=True
)
_LOWER_CASE = shared.lower_case()
_EPOCHS = flags.DEFINE_integer(
    "epochs", 3, "Passes over the training file.", lower_bound=1
)
_FREEZE_BLOCKS = flags.DEFINE_integer(
    "freeze_blocks",
    None,
    "Leave the embeddings and so many blocks, from below, as they are; 0 for "
    "the embeddings alone. By default all is trained.",
    lower_bound=0,
)
_METRIC = flags.DEFINE_string(
    "metric",
    None,
    "Which of the task's scores tells the best step, the highest one's; or "
    "loss, for the lowest. By default the task's own: accuracy of a "
    "classifier, for one. See --eval_every.",
)
_WORST = shared.worst()
task_flags.define()
run_flags.define(batch_size=32, learning_rate=5e-5)


def main(argv):
    """Reads the flags and the files, trains, scores and saves the model."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert import tasks
    from kbert.runs import data_summary
    from kbert.runs.finetuning import FinetuneOptions, finetune

    has_dev = bool(_DEV.value) or _DEV_SHARE.value is not None
    if not has_dev and _WORST.value != _WORST.default:
        raise ValueError(f"--worst={_WORST.value}: wanted --dev too.")
    data = task_flags.data_options(_READING())
    task = tasks.task_class(flags.FLAGS.task)
    train, dev, spec = _rows(task, data)
    data_summary.show(task, data, train, dev)
    finetune(
        spec,
        init=_INIT.value,
        lower_case=_LOWER_CASE.value,
        train=train,
        dev=dev,
        data=data,
        tuning=FinetuneOptions(
            epochs=_EPOCHS.value,
            freeze_blocks=_FREEZE_BLOCKS.value,
            metric=_METRIC.value,
            worst=_WORST.value,
        ),
        options=run_flags.options("finetune"),
    )


def _rows(task, data):
    """Those to train on, those to score the model on or None, and its spec.

    Raises: ValueError, naming file and line or the flag; OSError.
    """
    from kbert.tasks.rows import split

    share = _DEV_SHARE.value
    if share is not None and _DEV.value:
        raise ValueError(
            f"--dev_share={share:g}: --dev is given too; needs one of them."
        )
    train = task.read(_TRAIN.value, data)
    if share is None:
        spec = task.new_spec(train, data)
        dev = task.read(_DEV.value, data, spec) if _DEV.value else None
        return train, dev, spec
    train, dev = split(train, share)
    print(
        f"{_TRAIN.value}: {len(train):,} rows to train on, {len(dev):,} held "
        "out",
        flush=True,
    )
    return train, dev, task.new_spec(train, data)


def cli():
    """The console script."""
    run(main, __file__, resumes=True)


if __name__ == "__main__":
    cli()
