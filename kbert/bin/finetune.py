# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes a model for a task.

    classification       texts or pairs, each with a class, or several
    regression           texts or pairs, each with a number
    tagging              words with tags, in CoNLL's columns: entities
    question_answering   questions whose answers are spans of a paragraph, in
                         SQuAD's JSON (1.1, or 2.0, where some have none)
    multiple_choice      texts, each with several choices, one of them right
    summarization        documents, some of whose sentences tell the most

Begins with the model of --init, whose encoder is trained further. The labels
are those of the training file. Runs on all visible GPUs, or on the processor.
The model is written to <output_dir>/model; with --dev, its scores to
evaluation.json, and to report/ what it is good and bad at: tables by class and
by length, and the worst rows.
"""

import math

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import run, run_flags

_TASK = flags.DEFINE_enum(
    "task",
    "classification",
    [
        *("classification", "regression", "tagging", "question_answering"),
        *("multiple_choice", "summarization"),
    ],
    "What to learn.",
)
_TRAIN = flags.DEFINE_string(
    "train",
    None,
    "A .tsv, .csv or .jsonl file to train on; for tagging a CoNLL one, for "
    "questions SQuAD's JSON.",
    required=True,
)
_DEV = flags.DEFINE_string("dev", None, "A file to score the model on.")
_READING = shared.reading()
_INIT = flags.DEFINE_string(
    "init", None, "Folder of a kbert model to start from.", required=True
)
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
_MAX_SEQ_LENGTH = flags.DEFINE_integer(
    "max_seq_length",
    128,
    "Most tokens of a row; longer texts are cut. "
    "For question_answering, which cuts none but reads windows, 384 is usual.",
)
_CLASS_WEIGHTS = flags.DEFINE_list(
    "class_weights",
    None,
    "How much the rows of each label count in the loss: balanced, or "
    "label:weight,... for all labels.",
)
# What only some tasks have: the fields of their Settings, by name.
_SETTINGS = {
    "multi_label": flags.DEFINE_boolean(
        "multi_label",
        None,
        "classification: a row may have several labels, a|b, or none.",
    ),
    "threshold": flags.DEFINE_float(
        "threshold",
        None,
        "classification, --multi_label: lowest probability of a row's labels; "
        "by default 0.5. question_answering, --several_answers: likewise of an "
        "answer; else the highest no-answer score of a question that has one, "
        "by default the best on --dev, or 0.",
    ),
    "stride": flags.DEFINE_integer(
        "stride",
        None,
        "tagging, question_answering: tokens from the begin of one window of "
        "a text that is longer than a row to the next; by default a half and a "
        "third of --max_seq_length.",
    ),
    "max_query_length": flags.DEFINE_integer(
        "max_query_length",
        None,
        "question_answering: most tokens of a question; by default 64.",
    ),
    "max_answer_length": flags.DEFINE_integer(
        "max_answer_length",
        None,
        "question_answering: most tokens of an answer; by default 30.",
    ),
    "several_answers": flags.DEFINE_boolean(
        "several_answers",
        None,
        "question_answering: a question may have several answers, all marked "
        "in the file, or none.",
    ),
    "num_sentences": flags.DEFINE_integer(
        "num_sentences",
        None,
        "summarization: sentences of a summary; by default 3.",
    ),
}
run_flags.define(batch_size=32, learning_rate=5e-5)


def main(argv):
    """Reads the flags and the files, trains, scores and saves the model."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert.runs.finetuning import FinetuneOptions, finetune
    from kbert.runs.jobs import JOBS
    from kbert.runs.jobs.job import JobOptions

    if not _DEV.value and _WORST.value != _WORST.default:
        raise ValueError(f"--worst={_WORST.value}: wanted --dev too.")
    options = JobOptions(
        **_READING(),
        max_seq_length=_MAX_SEQ_LENGTH.value,
        class_weights=_class_weights(),
        settings=_settings(),
    )
    job = JOBS[_TASK.value](options)
    finetune(
        job,
        init=_INIT.value,
        train=job.read(_TRAIN.value),
        dev=job.read(_DEV.value) if _DEV.value else None,
        tuning=FinetuneOptions(
            epochs=_EPOCHS.value,
            freeze_blocks=_FREEZE_BLOCKS.value,
            metric=_METRIC.value,
            worst=_WORST.value,
        ),
        options=run_flags.options(),
    )


def _class_weights():
    """None, "balanced" or a dict."""
    given = _CLASS_WEIGHTS.value
    if given in (None, ["balanced"]):
        return given and given[0]
    try:
        pairs = [item.rsplit(":", 1) for item in given]
        weights = {label: float(weight) for label, weight in pairs}
        if not all(0 < weight < math.inf for weight in weights.values()):
            raise ValueError
        return weights
    except ValueError:
        raise ValueError(
            f"--class_weights={','.join(given)}: wanted balanced or "
            "label:weight,..., all above 0."
        ) from None


def _settings():
    """Those of the task that were given."""
    import dataclasses

    from kbert.tasks import SETTINGS

    made = SETTINGS.get(_TASK.value)
    names = {field.name for field in dataclasses.fields(made)} if made else ()
    given = {k: x.value for k, x in _SETTINGS.items() if x.value is not None}
    for name in given:
        if name not in names:
            raise ValueError(f"--{name}: not of --task={_TASK.value}.")
    return given


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
