# SPDX-License-Identifier: Apache-2.0
"""A fine-tuning run: a model and a table, to a classifier's folder."""

from kbert import tasks
from kbert.checkpoints import folder
from kbert.checkpoints.folder import LoadedModel
from kbert.config import BertConfig
from kbert.data import finetuning
from kbert.data.tables import Rows
from kbert.runs import run, scoring
from kbert.runs.run import RunOptions
from kbert.tasks import TaskSpec, classification


def finetune(
    *,
    init: str,
    train: Rows,
    dev: Rows | None,
    epochs: int,
    max_seq_length: int,
    options: RunOptions,
) -> None:
    """Trains a classifier and writes <output_dir>/model.

    The labels are those of the training table. Scores on dev, if given,
    and the best step's stand in evaluation.json.

    Args:
        init: folder of the model to start from.
        train: rows with labels, of one text or two.
        dev: held-out rows, or None.
        epochs: passes over the training rows.
        max_seq_length: most tokens of a row; longer texts are cut.
        options: how to train.
    Raises: ValueError, naming the file or the flag; OSError.
    """
    run.check_eval_every(options, "--dev", dev)
    strategy = run.strategy(options)
    initial = folder.load(init)
    spec = _spec(train, max_seq_length, initial.config)
    examples = scoring.tokenized(train, spec, initial.vocabulary)
    held_out = None
    if dev:
        held_out = scoring.tokenized(dev, spec, initial.vocabulary)
    config = run.with_dropout(initial.config, options)
    with run.begun(options, strategy):
        with strategy.scope():
            model = tasks.build(config, spec)
            fresh = folder.copy_weights(initial.model, model)
            print(
                f"{init}: begun with random weights: {', '.join(fresh) or '-'}"
            )
        score = None
        if held_out:
            score = scoring.classifier_scores(
                model, held_out, options.batch_size
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
                losses=classification.losses(),
                metrics=classification.metrics(),
                config=config,
                score=score,
                options=options,
            )
        if not strategy.extended.should_checkpoint:
            return
        if dev and score:
            scores = score()
            print(f"{dev.path}: {run.describe(scores)}", flush=True)
            run.keep_scores(options, **scores)
        trained = LoadedModel(
            model, initial.config, initial.vocabulary, spec, initial.licences
        )
        run.save(trained, trainer, options)


def _spec(rows: Rows, max_seq_length: int, config: BertConfig) -> TaskSpec:
    labels = tuple(sorted(set(rows.labels or ())))
    if len(labels) < 2:
        raise ValueError(
            f"{rows.path}: the only label is {', '.join(labels)!r}; wanted "
            "two or more."
        )
    if max_seq_length > config.max_position_embeddings:
        raise ValueError(
            f"--max_seq_length={max_seq_length}: the model takes at most "
            f"{config.max_position_embeddings} (max_position_embeddings)."
        )
    return TaskSpec(
        task="classification",
        max_seq_length=max_seq_length,
        labels=labels,
        num_texts=len(rows.texts),
    )
