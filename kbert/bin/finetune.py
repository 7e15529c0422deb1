# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes a model for a task.

    classification       texts or pairs with one class, or with several
    regression           texts or pairs with a number
    tagging              words with entity tags, in CoNLL's columns
    question_answering   questions whose answers are spans of a paragraph, in
                         SQuAD's JSON (1.1, or 2.0 with unanswerable questions)
    multiple_choice      texts with several choices, one of them correct
    reranking            queries with texts that answer them, and others
    summarization        documents whose most important sentences are labelled

Starts from the model of --init, of any format that kbert reads. The labels are
those of the training file. Runs on all visible GPUs, or on the CPU.
The model is written to <output_dir>/model; with --dev, its scores to
evaluation.json, and tables by class and by length and the worst rows to
report/.
"""

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import option_flags, run, task_flags
from kbert.training.config import FinetuneConfig

_TRAIN = flags.DEFINE_string(
    "train",
    None,
    "A .tsv, .csv, .jsonl or .parquet file to train on, optionally compressed "
    "(.csv.gz); for tagging a CoNLL file, for questions SQuAD's JSON.",
    required=True,
)
_DEV = flags.DEFINE_string("dev", None, "A file to evaluate the model on.")
_DEV_SHARE = flags.DEFINE_float(
    "dev_share",
    None,
    "Instead of --dev: the approximate share of the rows of --train to use as "
    "the validation set, such as 0.1. The split depends only on the texts of a "
    "row: rows with equal texts stay together.",
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
    """Reads the files; trains, evaluates and saves the model."""
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
    """Returns training rows, validation rows or None, and the spec.

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
