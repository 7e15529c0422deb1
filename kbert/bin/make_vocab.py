# SPDX-License-Identifier: Apache-2.0
"""Learns a WordPiece vocabulary from text files.

Writes vocab.txt, one token per line, and vocab.json, its size and casing.
"""

import pathlib

from absl import app, flags

from kbert.bin import run

_INPUT = flags.DEFINE_string(
    "input",
    None,
    "Text files, also compressed ones (NAME.gz): comma-separated paths and "
    "globs.",
    required=True,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder for vocab.txt and vocab.json.", required=True
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 30522, "Number of tokens; a small text gives fewer."
)
_LOWER_CASE = flags.DEFINE_boolean(
    "lower_case", True, "Lower-case the text and strip its accents."
)


def main(argv):
    """Learns and saves the vocabulary, and prints its size."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    from kbert.text import text_files, vocabulary

    folder = pathlib.Path(_OUTPUT_DIR.value)
    paths = text_files.expand(_INPUT.value)
    folder.mkdir(parents=True, exist_ok=True)  # fails before the work starts
    learned = vocabulary.learn(
        paths, size=_VOCAB_SIZE.value, lower_case=_LOWER_CASE.value
    )
    learned.save(folder)
    casing = "uncased" if learned.lower_case else "cased"
    path = folder / vocabulary.VOCABULARY_FILE
    print(f"{path}: {len(learned):,} tokens, {casing}")


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
