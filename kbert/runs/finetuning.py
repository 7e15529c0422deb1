# SPDX-License-Identifier: Apache-2.0
"""A fine-tuning run: a model and a task's rows, to a model's folder."""

from kbert import tasks
from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel
from kbert.data import finetuning
from kbert.runs import run, scoring
from kbert.runs.jobs.job import Job, Rows
from kbert.runs.run import RunOptions
from kbert.runs.scoring import TaskScores


def finetune(
    job: Job,
    *,
    init: str,
    train: Rows,
    dev: Rows | None,
    epochs: int,
    options: RunOptions,
) -> None:
    """Trains a model for a task and writes <output_dir>/model.

    The labels are those of the training rows. Scores on dev, if given,
    and the best step's stand in evaluation.json; what a task tunes, such as
    a threshold, is tuned on dev.

    Args:
        job: the task.
        init: folder of the model to start from.
        train: rows with labels.
        dev: held-out rows, or None.
        epochs: passes over the training rows.
        options: how to train.
    Raises: ValueError, naming the file or the flag; OSError.
    """
    run.check_eval_every(options, "--dev", dev)
    strategy = run.strategy(options)
    initial = folder.load(init)
    spec = job.spec(train)
    if spec.max_seq_length > initial.config.max_position_embeddings:
        raise ValueError(
            f"--max_seq_length={spec.max_seq_length}: the model takes at most "
            f"{initial.config.max_position_embeddings} "
            "(max_position_embeddings)."
        )
    examples = scoring.tokenized(job, train, spec, initial.vocabulary)
    config = run.with_dropout(initial.config, options)
    with run.begun(options, strategy):
        with strategy.scope():
            model = tasks.build(config, spec)
            fresh = folder.copy_weights(initial.model, model)
            print(
                f"{init}: begun with random weights: {', '.join(fresh) or '-'}"
            )
        score = None
        if dev:
            score = TaskScores(
                model,
                job,
                dev,
                spec=spec,
                vocabulary=initial.vocabulary,
                batch_size=options.batch_size,
            )
        with strategy.scope():
            trainer = run.train(
                model,
                lambda step: finetuning.dataset(
                    examples,
                    batch_size=options.batch_size,
                    seed=options.seed,
                    first_step=step,
                ),
                steps=epochs
                * finetuning.steps_per_epoch(examples, options.batch_size),
                losses=job.losses(spec),
                metrics=job.metrics(spec),
                config=config,
                score=score,
                options=options,
            )
        if not strategy.extended.should_checkpoint:
            return
        if dev and score:
            spec, scores = score.tuned()
            print(f"{dev.path}: {run.describe(scores)}", flush=True)
            run.keep_scores(options, **scores)
        trained = LoadedModel(
            model, initial.config, initial.vocabulary, spec, initial.licences
        )
        run.save(trained, trainer, options)
