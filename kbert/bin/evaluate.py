# SPDX-License-Identifier: Apache-2.0
"""Evaluates a model: on a file of its task, or a pre-trained one on records.

For pre-trained models it also prints the entropies of the label frequencies:
the losses of a model that predicts these frequencies and nothing else.
"""

import sys

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import option_flags, run
from kbert.runs.mining_config import MiningConfig
from kbert.training.config import FinetuneConfig

_MODEL = shared.model()
_LOWER_CASE = shared.lower_case()
_TASK = shared.task()
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "A file for kbert-finetune --train; for a pre-trained model records.",
    required=True,
)
_READING = shared.reading()
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 32, "Rows per batch.", lower_bound=1
)
_MASKING = shared.masking()
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the scores.")
_REPORT_DIR = flags.DEFINE_string(
    "report_dir",
    None,
    "Folder for tables of scores by class and by length, and for the worst "
    "rows; for fine-tuned models.",
)
option_flags.define(FinetuneConfig, "worst")
_EMBEDDER = flags.DEFINE_string(
    "embedder",
    None,
    "For rerankers: a model for vectors, which finds the texts that are put "
    "in order. --input is then a table of queries and positives, or a qrels "
    "file.",
)
option_flags.define(MiningConfig, "nearest")


def main(argv):
    """Evaluates the model and prints the scores."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert import tasks
    from kbert.checkpoints import formats
    from kbert.runs import run_files

    loaded = formats.load(_MODEL.value, lower_case=_LOWER_CASE.value)
    _TASK(loaded.spec.task)
    if note := tasks.segment_note(loaded.config, loaded.spec):
        print(f"{_MODEL.value}: {note}", file=sys.stderr)
    scores = _scores(loaded)
    for name, value in scores.items():
        print(f"{name.replace('_', ' ')}: {value:.4f}")
    if _OUTPUT.value:
        run_files.write_json(_OUTPUT.value, scores)


def _scores(loaded):
    from kbert import tasks
    from kbert.tasks.labelled import LabelledTask

    if _EMBEDDER.value:
        return _of_search(loaded)
    if loaded.spec.task in ("pretraining", "masked_lm"):
        return _of_records(loaded)
    if _MASKING():
        raise app.UsageError(
            "--max_predictions and the other masking flags are for pre-trained "
            "models."
        )
    if issubclass(tasks.task_class(loaded.spec.task), LabelledTask):
        return _of_task(loaded)
    raise ValueError(
        f"{_MODEL.value}: a model for {loaded.spec.task!r} has no scores; "
        "needs one of kbert-pretrain or kbert-finetune."
    )


def _of_records(loaded):
    from kbert.data import record_sets
    from kbert.runs import scoring

    if _REPORT_DIR.value:
        raise app.UsageError("--report_dir is for fine-tuned models.")
    record_set = record_sets.find(
        _INPUT.value,
        vocabulary=loaded.vocabulary,
        max_positions=loaded.config.max_position_embeddings,
    )
    return scoring.record_scores(
        loaded, record_set, _BATCH_SIZE.value, _MASKING()
    )


def _of_search(loaded):
    import kbert
    from kbert import tasks
    from kbert.runs import reranking
    from kbert.tasks.rows import DataOptions

    if loaded.spec.task != "reranking" or _REPORT_DIR.value:
        raise app.UsageError(
            "--embedder is for rerankers, without --report_dir."
        )
    rows = kbert.Embedder.read(_INPUT.value, DataOptions(**_READING()))
    if len(rows.columns) < 2 or rows.labels is not None:
        raise ValueError(
            f"{_INPUT.value}: needs queries and positives, without labels, for "
            "--embedder."
        )
    return reranking.scores(
        tasks.task_class(loaded.spec.task)(loaded),
        kbert.Embedder.from_pretrained(_EMBEDDER.value),
        rows,
        nearest=flags.FLAGS.nearest,
        batch_size=_BATCH_SIZE.value,
    )


def _of_task(loaded):
    """Returns the scores; writes the report if --report_dir is given."""
    from kbert import tasks
    from kbert.runs import scoring
    from kbert.tasks.rows import DataOptions

    task = tasks.task_class(loaded.spec.task)(loaded)
    options = DataOptions(**_READING())
    rows = task.read(_INPUT.value, options, loaded.spec)
    score = scoring.TaskScores(
        task.to_score(rows), rows, options, batch_size=_BATCH_SIZE.value
    )
    scores = score.scores()
    if _REPORT_DIR.value:
        score.report(scores, _REPORT_DIR.value, flags.FLAGS.worst)
    return scores


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
