# SPDX-License-Identifier: Apache-2.0
"""A fine-tuning run: a model and a table, to a classifier's folder."""

import json
import pathlib

from kbert import tasks
from kbert.checkpoints import folder
from kbert.config import BertConfig
from kbert.data import finetuning
from kbert.data.tables import Rows
from kbert.runs import files, run, scoring
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
    stand in evaluation.json.

    Args:
        init: folder of the model to start from.
        train: rows with labels, of one text or two.
        dev: held-out rows, or None.
        epochs: passes over the training rows.
        max_seq_length: most tokens of a row; longer texts are cut.
        options: how to train.
    Raises: ValueError, naming the file or the flag; OSError.
    """
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
            run.train(
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
                options=options,
            )
        if not strategy.extended.should_checkpoint:
            return
        if dev and held_out:
            _score(model, dev, held_out, options)
        folder.save(
            options.model_folder,
            model,
            config=initial.config,
            vocabulary=initial.vocabulary,
            spec=spec,
            licences=initial.licences,
        )
    print(f"{options.model_folder}: the trained model")


def _score(model, dev, held_out, options):
    """Prints the held-out scores and keeps them in evaluation.json."""
    scores = scoring.classification_scores(model, held_out, options.batch_size)
    print(f"{dev.path}: {run.describe(scores)}", flush=True)
    path = pathlib.Path(options.output_dir) / "evaluation.json"
    files.write_text(path, json.dumps(scores, indent=2) + "\n")


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
