# SPDX-License-Identifier: Apache-2.0
"""Pre-trains a BERT on records: masked-LM and next-sentence prediction.

Begins with random weights of a --model_config, or goes on from a model with
--init. Runs on all visible GPUs, or on the processor. The model is written to
<output_dir>/model.
"""

import functools
import json
import pathlib

from absl import app, flags

from kbert.bin import output, run, scoring, training_run

_INPUT = flags.DEFINE_string(
    "input",
    None,
    "Records: folders, paths and globs, by commas.",
    required=True,
)
_EVAL_INPUT = flags.DEFINE_string(
    "eval_input", None, "Records to evaluate before and after the training."
)
_VOCAB = flags.DEFINE_string(
    "vocab", None, "The vocab.txt of records that were not made by kbert."
)
_LOWER_CASE = flags.DEFINE_boolean(
    "lower_case", None, "Casing of a --vocab without a vocab.json beside it."
)
_MODEL_CONFIG = flags.DEFINE_string(
    "model_config",
    None,
    "tiny, mini, small, medium, base, large, or a JSON file.",
)
_INIT = flags.DEFINE_string(
    "init", None, "Folder of a kbert model to go on from."
)
_STEPS = flags.DEFINE_integer(
    "steps", 10000, "Steps of the whole run.", lower_bound=1
)
training_run.define(batch_size=32, learning_rate=1e-4)


def main(argv):
    """Reads the flags, trains, evaluates and saves the model."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    if (_MODEL_CONFIG.value is None) == (_INIT.value is None):
        raise ValueError("Give one of --model_config and --init.")
    from kbert.checkpoints import folder
    from kbert.data import pretraining
    from kbert.training import losses

    initial = folder.load(_INIT.value) if _INIT.value else None
    record_set = _find_records(_INPUT.value, initial)
    strategy = training_run.begin()
    with strategy.scope():
        config, spec, model = _build(record_set, initial)
        evaluate = functools.partial(_evaluate, model, record_set)
        evaluate("before")
        with record_set.damage_named():
            training_run.train(
                model,
                lambda step: pretraining.dataset(
                    record_set,
                    batch_size=flags.FLAGS.batch_size,
                    seed=flags.FLAGS.seed,
                    first_step=step,
                ),
                steps=_STEPS.value,
                losses=losses.pretraining_losses(),
                metrics=losses.pretraining_metrics(),
            )
        evaluate("after")
    path = pathlib.Path(flags.FLAGS.output_dir) / "model"
    folder.save(
        path, model, config=config, vocabulary=record_set.vocabulary, spec=spec
    )
    print(f"{path}: the trained model")


def _find_records(patterns, initial):
    from kbert.data import record_sets
    from kbert.text.vocabulary import Vocabulary

    vocabulary = None
    if initial:
        vocabulary = initial.vocabulary
    elif _VOCAB.value:
        vocabulary = Vocabulary.load(_VOCAB.value, lower_case=_LOWER_CASE.value)
    positions = initial and initial.config.max_position_embeddings
    return record_sets.find(
        patterns, vocabulary=vocabulary, max_positions=positions
    )


def _build(record_set, initial):
    from kbert import tasks
    from kbert.checkpoints import folder
    from kbert.config import BertConfig

    length = record_set.row.max_seq_length
    spec = tasks.TaskSpec(
        task="pretraining", max_seq_length=length, num_texts=2
    )
    if initial:
        config = initial.config
    else:
        vocabulary = record_set.vocabulary
        config = BertConfig.from_json(
            _MODEL_CONFIG.value,
            vocab_size=len(vocabulary),
            lower_case=vocabulary.lower_case,
        )
    model = tasks.build(training_run.with_dropout(config), spec)
    if length > config.max_position_embeddings:
        raise ValueError(
            f"{_INPUT.value}: rows of {length} tokens; the model takes at most "
            f"{config.max_position_embeddings} (max_position_embeddings)."
        )
    if initial:
        fresh = folder.copy_weights(initial.model, model)
        training_run.tell_fresh(_INIT.value, fresh)
    return config, spec, model


def _evaluate(model, record_set, moment):
    """Prints the held-out losses and keeps them in evaluation.json."""
    if not _EVAL_INPUT.value:
        return
    from kbert.data import record_sets

    held_out = record_sets.find(
        _EVAL_INPUT.value, vocabulary=record_set.vocabulary
    )
    path = pathlib.Path(flags.FLAGS.output_dir) / "evaluation.json"
    results = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if moment not in results or moment == "after":  # a resumed run keeps it
        results[moment] = scoring.pretraining_scores(
            model, held_out, flags.FLAGS.batch_size
        )
        output.write_text(path, json.dumps(results, indent=2) + "\n")
    print(f"held out, {moment}: {training_run.describe(results[moment])}")


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
