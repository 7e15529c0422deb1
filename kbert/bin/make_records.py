# SPDX-License-Identifier: Apache-2.0
"""Makes pre-training records from text files.

The text has one sentence or one paragraph per line, and a blank line between
documents; files may be compressed, NAME.gz. Give a vocabulary of
kbert-make-vocab, or another vocab.txt with --lower_case or --nolower_case. A
run that was killed resumes when it is started again.

With --runner an Apache Beam pipeline does the work, and Beam's flags follow
after --, such as

    --runner=DirectRunner -- --direct_num_workers=8

Beam's workers need kbert (see Beam's --environment_type), and the text and the
output folder under the same paths, in a shared file system. `-- --help` prints
Beam's flags.
"""

import dataclasses
import logging
import os

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import run
from kbert.runs.progress import Progress

_INPUT = flags.DEFINE_string(
    "input",
    None,
    "Text files: comma-separated paths and globs.",
    required=True,
)
_VOCAB = flags.DEFINE_string("vocab", None, "The vocab.txt.", required=True)
_LOWER_CASE = shared.lower_case()
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "New folder for the records.", required=True
)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", 1, "Number of processes, each on one core."
)
_RUNNER = flags.DEFINE_string(
    "runner",
    None,
    "Apache Beam's runner for the work, instead of --num_workers; needs "
    "pip install 'kbert-keras[beam]'.",
)
# The other flags are the fields of RecordOptions.
for _name, _default, _help in (
    ("max_seq_length", 128, "Tokens per row; shorter rows are padded."),
    ("max_predictions", 20, "Maximum predictions per row."),
    ("max_ngram", 1, "Maximum tokens, or whole words, masked as one span."),
    ("dupe_factor", 1, "Passes over the text, with other random choices."),
    ("num_shards", 16, "Number of files, if there is enough text."),
    ("seed", 0, "Random seed; it determines the files."),
):
    flags.DEFINE_integer(_name, _default, _help)
flags.DEFINE_float("masked_lm_prob", 0.15, "Share of the tokens to predict.")
flags.DEFINE_boolean(
    "whole_words", False, "Mask all tokens of a word together."
)
flags.DEFINE_float(
    "short_seq_prob", 0.1, "Share of the texts that are made shorter."
)
flags.DEFINE_boolean(
    "next_sentence",
    True,
    "Make pairs with next-sentence labels, or else rows of full sentences.",
)
flags.DEFINE_boolean(
    "packed", False, "Pack several texts into a row; needs --nonext_sentence."
)
flags.DEFINE_boolean(
    "masked", True, "Mask the rows now, or else in training, in each epoch."
)


def main(argv):
    """Makes the records and prints the counts."""
    workers = _workers(argv[1:])
    import tensorflow as tf

    from kbert.data import record_statistics, record_writer
    from kbert.text import text_files
    from kbert.text.vocabulary import Vocabulary

    tf.config.set_visible_devices([], "GPU")
    options = {
        field.name: flags.FLAGS[field.name].value
        for field in dataclasses.fields(record_writer.RecordOptions)
    }
    statistics = record_writer.make_records(
        [os.path.abspath(file) for file in text_files.expand(_INPUT.value)],
        os.path.abspath(_OUTPUT_DIR.value),
        vocabulary=Vocabulary.load(_VOCAB.value, lower_case=_LOWER_CASE.value),
        options=record_writer.RecordOptions(**options),
        workers=workers,
        progress=Progress(),
    )
    print(f"{_OUTPUT_DIR.value}:")
    for name, count in statistics["counts"].items():
        line = f"  {name.replace('_', ' '):18}{count:15,}"
        if name in statistics["shares"]:
            whole = record_statistics.SHARE_OF[name].replace("_", " ")
            line += f"  {statistics['shares'][name]:6.1%} of the {whole}"
        print(line)


def _workers(beam_flags):
    if not _RUNNER.value:
        if beam_flags:
            raise app.UsageError(
                f"Not a flag: {beam_flags}; flags of Beam need --runner."
            )
        from kbert.data.workers import Workers

        return Workers(_NUM_WORKERS.value)
    if _NUM_WORKERS.value != _NUM_WORKERS.default:
        raise app.UsageError(
            f"--num_workers={_NUM_WORKERS.value} and --runner are both given; "
            "use Beam's flags for the number of workers."
        )
    logging.disable(logging.WARNING)  # Beam lists missing optional packages
    try:
        from kbert.data.beam_workers import BeamWorkers
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--runner needs Apache Beam ({error}): pip install "
            "'kbert-keras[beam]'."
        ) from None
    finally:
        logging.disable(logging.NOTSET)
    return BeamWorkers(_RUNNER.value, beam_flags)


def cli():
    """The console script."""
    run(main, __file__, resumes=True)


if __name__ == "__main__":
    cli()
