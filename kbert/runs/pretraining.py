# SPDX-License-Identifier: Apache-2.0
"""A pre-training run: records and a config or a model, to a model folder."""

import math
from typing import NamedTuple

import keras

from kbert import features, models, tasks
from kbert.checkpoints import folder, formats
from kbert.checkpoints.folder import LoadedModel
from kbert.config import BertConfig
from kbert.data import pretraining, record_sets
from kbert.data.masking import Masking
from kbert.data.record_sets import RecordSet
from kbert.runs import run, run_record, scoring
from kbert.runs.run import RunOptions
from kbert.text.vocabulary import Vocabulary
from kbert.training import losses


class Start(NamedTuple):
    """Where pre-training starts: at random weights or at a model's.

    Attributes:
        model_config: a name or a file, for random weights.
        init: or the path of a model.
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
    steps: int,
    options: RunOptions,
) -> None:
    """Trains the pre-training outputs and writes <output_dir>/model.

    Records without next-sentence labels train the masked-LM output alone,
    and the model has no other. Scores on eval_records from before and after,
    which are the trained model's, and those of the best and of the last step
    stand in evaluation.json.

    Args:
        records: folders, paths and globs, by commas.
        eval_records: likewise, held out; or None.
        start: the weights to start from.
        vocabulary: of records that have none beside them, else None.
        masking: of records whose rows are not masked, else None.
        steps: of the whole run.
        options: how to train.
    Raises: ValueError, naming the file or the flag; OSError.
    """
    run.check_scores(options, "--eval_input", eval_records, by_epoch=False)
    strategy = run.strategy(options)
    initial = _initial(start, options)
    if initial:
        vocabulary = initial.vocabulary
    record_set = record_sets.find(records, vocabulary=vocabulary)
    config = _config(initial, start, record_set)
    _check_length(records, record_set, config)
    held_out = _held_out(eval_records, record_set, config)
    all_sets = [record_set, held_out] if held_out else [record_set]
    pretraining.check_masking(all_sets, masking)
    options = run.with_rows(options, strategy, records, record_set.num_rows)
    with run.begun(
        options,
        strategy,
        lambda: _inputs(
            records,
            record_set,
            eval_records,
            held_out,
            start,
            config,
        ),
    ) as record:
        with strategy.scope():
            model = models.build_pretrainer(
                run.with_dropout(config, options),
                _outputs(record_set),
                packed=any(s.row.packed for s in all_sets),
            )
            if initial:
                _start_from(initial, model, start.init, options)
        score = held_out and scoring.RecordScores(
            model, held_out, options.batch_size, masking
        )
        if record:
            _score(score, "before", options)
        with strategy.scope(), record_set.explain_damage():
            trainer = _train(
                model,
                record_set,
                config,
                steps=steps,
                masking=masking,
                score=score,
                options=options,
                record=record,
            )
        if not record:
            return
        kept = run.keep(trainer, options, bool(score and options.eval_every))
        _score(score, "after", options, kept.told)
        trained = LoadedModel(
            model,
            config,
            record_set.vocabulary,
            _spec(record_set),
            initial.licences if initial else {},
        )
        run.save(trained, options, kept)


def _initial(start, options) -> LoadedModel | None:
    """The model to start from, or None to start at random weights.

    Raises: ValueError if both are given or none; as `formats.load` does.
    """
    if bool(start.init) == bool(start.model_config):
        raise ValueError("Give one of --model_config and --init.")
    if not start.init:
        return None
    return formats.load(
        start.init, lower_case=start.lower_case, seed=options.seed
    )


def _inputs(records, record_set, eval_records, held_out, start, config):
    named = {
        "input": run_record.named_records(records, record_set.files),
        "vocab": run_record.named_text(
            "vocab.txt", record_set.vocabulary.fingerprint
        ),
    }
    if held_out:
        named["eval_input"] = run_record.named_records(
            eval_records, held_out.files
        )
    if start.init:
        named["init"] = run_record.named_model(start.init)
    else:
        named["model_config"] = run_record.named_text(
            start.model_config, repr(config)
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


def _config(initial, start, record_set: RecordSet) -> BertConfig:
    """That of `initial`, or of a file."""
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


def _held_out(eval_records, record_set, config) -> RecordSet | None:
    if not eval_records:
        return None
    return record_sets.find(
        eval_records,
        vocabulary=record_set.vocabulary,
        max_positions=config.max_position_embeddings,
    )


def _check_length(records, record_set, config):
    length = record_set.row.max_seq_length
    if length > config.max_position_embeddings:
        raise ValueError(
            f"{records}: rows of {length} tokens; the model takes at most "
            f"{config.max_position_embeddings} (max_position_embeddings)."
        )


def _start_from(initial: LoadedModel, model: keras.Model, path, options):
    fresh = folder.copy_weights(initial.model, model)
    if run.is_resumed(options):
        return
    run.say_initialized(path, fresh)
    ours = {layer.name for layer in model.layers}
    dropped = [
        layer.name
        for layer in initial.model.layers
        if layer.weights and layer.name not in ours
    ]
    if dropped:
        print(f"{path}: left out: {', '.join(dropped)}")


def _train(
    model, record_set, config, *, steps, masking, score, options, record
):
    trainer = run.make_trainer(
        model,
        losses=scoring.chosen(losses.pretraining_losses(), model.output),
        metrics=scoring.chosen(losses.pretraining_metrics(), model.output),
        steps=steps,
        options=options,
    )
    run.train(
        trainer,
        lambda step: pretraining.dataset(
            record_set,
            batch_size=options.batch_size,
            seed=options.seed,
            first_step=step,
            masking=masking,
        ),
        steps=steps,
        config=config,
        score=score,
        eval_every=options.eval_every,
        options=options,
        record=record,
    )
    return trainer


def _score(score, moment, options, told=None):
    """Prints the held-out scores and keeps them in evaluation.json."""
    if not score:
        return
    known = run.kept_scores(options)
    if known.get("data") != score.data:
        known = {"data": score.data}
    scores = known.get(moment)
    if moment == "after" or not scores:  # a resumed run keeps "before"
        scores = {**score(), **score.label_entropies}
        run.keep_scores(options, {**known, moment: scores, **(told or {})})
    # JSON has no nan.
    scores = {k: math.nan if x is None else x for k, x in scores.items()}
    print(f"held out, {moment}: {run.describe(scores)}", flush=True)
