# SPDX-License-Identifier: Apache-2.0
"""Pre-trains a BERT on records: masked-LM and next-sentence prediction.

Records without next-sentence labels train only the masked-LM head. Records
whose rows are not masked are masked differently in each epoch.

Starts from a newly initialized --model_config, or from the model of --init.
Runs on all visible GPUs, or on the CPU. The model is written to
<output_dir>/model.
"""

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import option_flags, run
from kbert.training.config import PretrainConfig

_INPUT = flags.DEFINE_string(
    "input",
    None,
    "Records: comma-separated folders, paths and globs.",
    required=True,
)
_EVAL_INPUT = flags.DEFINE_string(
    "eval_input",
    None,
    "Records to evaluate on, before and after training and at --eval_every.",
)
_VOCAB = flags.DEFINE_string(
    "vocab", None, "The vocab.txt of records that kbert did not make."
)
_LOWER_CASE = shared.lower_case()
_MODEL_CONFIG = flags.DEFINE_string(
    "model_config",
    None,
    "tiny, mini, small, medium, base, large, or a JSON file.",
)
_INIT = flags.DEFINE_string(
    "init", None, f"The model to start from: {shared.FORMATS}."
)
_MASKING = shared.masking()
option_flags.define(PretrainConfig)


def main(argv):
    """Trains, evaluates and saves the model."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert.runs.pretraining import Start, pretrain
    from kbert.text.vocabulary import Vocabulary

    vocabulary = None
    if _VOCAB.value:
        vocabulary = Vocabulary.load(_VOCAB.value, lower_case=_LOWER_CASE.value)
    pretrain(
        records=_INPUT.value,
        eval_records=_EVAL_INPUT.value,
        start=Start(_MODEL_CONFIG.value, _INIT.value, _LOWER_CASE.value),
        vocabulary=vocabulary,
        masking=_MASKING(),
        config=PretrainConfig(**option_flags.values(PretrainConfig)),
        command=option_flags.command("pretrain"),
    )


def cli():
    """The console script."""
    run(main, __file__, resumes=True)


if __name__ == "__main__":
    cli()
