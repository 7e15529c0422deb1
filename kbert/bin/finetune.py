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
from kbert.bin import option_flags, run, task_flags
from kbert.training.config import FinetuneConfig

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
    "Instead of --dev: use about this share of the rows of --train for "
    "validation, such as 0.1. A row's texts alone decide on which side it is, "
    "so rows of equal texts stay together.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_READING = shared.reading()
_INIT = flags.DEFINE_string(
    "init", None, f"The model to start from: {shared.FORMATS}.", required=True
)
_LOWER_CASE = shared.lower_case()
task_flags.define()
option_flags.define(FinetuneConfig)


def main(argv):
    """Reads the flags and the files, trains, scores and saves the model."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert import tasks
    from kbert.runs import data_summary
    from kbert.runs.finetuning import finetune

    has_dev = bool(_DEV.value) or _DEV_SHARE.value is not None
    config = FinetuneConfig(**option_flags.values(FinetuneConfig))
    if not has_dev and config.worst != FinetuneConfig.worst:
        raise ValueError(f"--worst={config.worst}: needs --dev too.")
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
        config=config,
        command=option_flags.command("finetune"),
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
        f"{_TRAIN.value}: {len(train):,} rows to train on, {len(dev):,} for "
        "validation",
        flush=True,
    )
    return train, dev, task.new_spec(train, data)


def cli():
    """The console script."""
    run(main, __file__, resumes=True)


if __name__ == "__main__":
    cli()
