# SPDX-License-Identifier: Apache-2.0
"""Learns a vocabulary of word pieces from text files.

Writes vocab.txt, one piece a line, and vocab.json, its size and casing.
"""

import pathlib

from absl import app, flags

from kbert.bin import run

_INPUT = flags.DEFINE_string(
    "input",
    None,
    "Text files, also zipped ones (NAME.gz): paths and globs, by commas.",
    required=True,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder for vocab.txt and vocab.json.", required=True
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 30522, "Pieces wanted; a small text gives fewer."
)
_LOWER_CASE = flags.DEFINE_boolean(
    "lower_case", True, "Lower-case the text and strip its accents."
)


def main(argv):
    """Reads the flags, learns, saves and prints what was learnt."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert.text import files, vocabulary

    folder = pathlib.Path(_OUTPUT_DIR.value)
    paths = files.expand(_INPUT.value)
    folder.mkdir(parents=True, exist_ok=True)  # fails before the work is done
    learnt = vocabulary.learn(
        paths, size=_VOCAB_SIZE.value, lower_case=_LOWER_CASE.value
    )
    learnt.save(folder)
    casing = "uncased" if learnt.lower_case else "cased"
    path = folder / vocabulary.VOCABULARY_FILE
    print(f"{path}: {len(learnt):,} pieces, {casing}")


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
