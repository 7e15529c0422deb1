# SPDX-License-Identifier: Apache-2.0
"""Pre-training runs: from records and a config or model to a model folder."""

import math
from typing import NamedTuple

import keras

from kbert import features, models, tasks
from kbert.checkpoints import folder, formats
from kbert.checkpoints.folder import LoadedModel
from kbert.config import BertConfig
from kbert.data import record_batches, record_sets
from kbert.data.masking import Masking
from kbert.data.record_sets import RecordSet
from kbert.runs import run, run_record, scoring, trained_model
from kbert.runs.console import describe
from kbert.runs.run_record import Command
from kbert.text.vocabulary import Vocabulary
from kbert.training import losses
from kbert.training.config import PretrainConfig


class Start(NamedTuple):
    """The weights that pre-training starts from: random ones or a model's.

    Attributes:
        model_config: a name or a file, for random weights.
        init: the path of a model, instead.
        lower_case: the model's casing, if no file says it.
    """

    model_config: str | None
    init: str | None
    lower_case: bool | None


def pretrain(
    *,
    records: str,
    eval_records: str | None,
    start: Start,
    vocabulary: Vocabulary | None,
    masking: Masking | None,
    config: PretrainConfig,
    command: Command,
) -> None:
    """Trains the pre-training outputs and writes <output_dir>/model.

    Records without next-sentence labels train the masked-LM output alone, and
    the model has no other. evaluation.json has the scores on eval_records
    before training, of the trained model, and of the best and the last step.

    Args:
        records: folders, paths and globs, separated by commas.
        eval_records: folders, paths and globs of validation records; or None.
        start: the weights to start from.
        vocabulary: of records whose folder has none, else None.
        masking: of records whose rows are not masked, else None.
        config: how to train.
        command: for the run's record.
    Raises: ValueError, naming the file or the flag; OSError.
    """
    run.check_scores(config, "--eval_input", eval_records, by_epoch=False)
    strategy = run.strategy(config)
    initial = _initial(start, config)
    if initial:
        vocabulary = initial.vocabulary
    record_set = record_sets.find(records, vocabulary=vocabulary)
    model_config = _model_config(initial, start, record_set)
    _check_length(records, record_set, model_config)
    eval_set = _eval_set(eval_records, record_set, model_config)
    all_sets = [record_set, eval_set] if eval_set else [record_set]
    record_batches.check_masking(all_sets, masking)
    config = run.limit_batch(config, strategy, records, record_set.num_rows)
    with run.opened(
        config,
        command,
        strategy,
        lambda: _inputs(
            records, record_set, eval_records, eval_set, start, model_config
        ),
    ) as record:
        with strategy.scope():
            model = models.build_pretrainer(
                model_config.with_dropout(config.dropout),
                _outputs(record_set),
                packed=any(s.row.packed for s in all_sets),
            )
            if initial:
                _start_from(initial, model, start.init, config)
        scorer = eval_set and scoring.RecordScores(
            model, eval_set, config.batch_size, masking
        )
        if scorer and record:
            _score(scorer, "before", config)
        with strategy.scope(), record_set.explain_damage():
            trainer = _trainer(model, config)
            result = run.train(
                trainer,
                lambda step: record_batches.dataset(
                    record_set,
                    batch_size=config.batch_size,
                    seed=config.seed,
                    first_step=step,
                    masking=masking,
                ),
                steps=config.steps,
                model_config=model_config,
                scorer=scorer,
                config=config,
                record=record,
            )
        if not record:
            return
        chosen = trained_model.choose_step(trainer, result, config)
        if scorer:
            _score(scorer, "after", config, chosen.fields)
        trained = LoadedModel(
            model,
            model_config,
            record_set.vocabulary,
            _spec(record_set),
            initial.licences if initial else {},
        )
        trained_model.save(trained, config, chosen)


def _initial(start, config) -> LoadedModel | None:
    """The model to start from, or None for random weights.

    Raises: ValueError if both or neither are given; as `formats.load` does.
    """
    if bool(start.init) == bool(start.model_config):
        raise ValueError("Give one of --model_config and --init.")
    if not start.init:
        return None
    return formats.load(
        start.init, lower_case=start.lower_case, seed=config.seed
    )


def _inputs(records, record_set, eval_records, eval_set, start, model_config):
    named = {
        "input": run_record.named_records(records, record_set.files),
        "vocab": run_record.named_text(
            "vocab.txt", record_set.vocabulary.fingerprint
        ),
    }
    if eval_set:
        named["eval_input"] = run_record.named_records(
            eval_records, eval_set.files
        )
    if start.init:
        named["init"] = run_record.named_model(start.init)
    else:
        named["model_config"] = run_record.named_text(
            start.model_config, repr(model_config)
        )
    return named


def _outputs(record_set: RecordSet) -> list[str]:
    pairs = record_set.row.next_sentence
    return [features.MLM_LOGITS, *([features.NSP_LOGITS] if pairs else [])]


def _spec(record_set: RecordSet) -> tasks.TaskSpec:
    pairs = record_set.row.next_sentence
    return tasks.TaskSpec(
        task="pretraining" if pairs else "masked_lm",
        max_seq_length=record_set.row.max_seq_length,
        num_texts=2 if pairs else 1,
    )


def _model_config(initial, start, record_set: RecordSet) -> BertConfig:
    """The config of the initial model, or of a file."""
    path = start.init or start.model_config
    config = initial.config if initial else None
    config = config or BertConfig.from_json(
        path,
        vocab_size=len(record_set.vocabulary),
        lower_case=record_set.vocabulary.lower_case,
    )
    if note := tasks.segment_note(config, _spec(record_set)):
        print(f"{path}: {note}")
    return config


def _eval_set(eval_records, record_set, model_config) -> RecordSet | None:
    if not eval_records:
        return None
    return record_sets.find(
        eval_records,
        vocabulary=record_set.vocabulary,
        max_positions=model_config.max_position_embeddings,
    )


def _check_length(records, record_set, model_config):
    length = record_set.row.max_seq_length
    limit = model_config.max_position_embeddings
    if length > limit:
        raise ValueError(
            f"{records}: rows of {length} tokens; the model takes at most "
            f"{limit} (max_position_embeddings)."
        )


def _start_from(initial: LoadedModel, model: keras.Model, path, config):
    fresh = folder.copy_weights(initial.model, model)
    if run.is_resumed(config):
        return
    run.print_initialized(path, fresh)
    ours = {layer.name for layer in model.layers}
    left_over = [
        layer.name
        for layer in initial.model.layers
        if layer.weights and layer.name not in ours
    ]
    if left_over:
        print(f"{path}: left over: {', '.join(left_over)}")


def _trainer(model, config):
    return run.make_trainer(
        model,
        losses=scoring.chosen(losses.pretraining_losses(), model.output),
        metrics=scoring.chosen(losses.pretraining_metrics(), model.output),
        steps=config.steps,
        config=config,
    )


def _score(scorer, moment, config, fields=None):
    """Prints validation scores and writes them to evaluation.json."""
    evaluation = trained_model.read_evaluation(config)
    if evaluation.get("data") != scorer.data:
        evaluation = {"data": scorer.data}
    scores = evaluation.get(moment)
    if moment == "after" or not scores:  # a resumed run keeps "before"
        scores = {**scorer(), **scorer.label_entropies}
        trained_model.write_evaluation(
            config, {**evaluation, moment: scores, **(fields or {})}
        )
    # JSON has no nan.
    scores = {k: math.nan if x is None else x for k, x in scores.items()}
    print(f"validation, {moment}: {describe(scores)}", flush=True)
