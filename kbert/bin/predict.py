# SPDX-License-Identifier: Apache-2.0
"""Answers texts with a trained model, one JSON object a line.

The texts are a table's columns (--input, --text_columns), or given as flags:

    kbert-predict --model=DIR --text="A fine film." --text="Two dull hours."

A model that was pre-trained fills in each [MASK] of a text instead:

    kbert-predict --model=DIR --text="New [MASK] is a city." --top_k=3
"""

import functools
import json
import sys
from typing import Any

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import run

_MODEL = shared.model()
_INPUT = flags.DEFINE_string("input", None, "A .tsv, .csv or .jsonl file.")
_READING = shared.reading()
_TEXT = flags.DEFINE_multi_string(
    "text", [], "A text; give the flag once for each."
)
_TEXT_B = flags.DEFINE_multi_string(
    "text_b", [], "The second text of a pair, as often as --text."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "JSON Lines file for the answers, instead of stdout."
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 32, "Texts at once.", lower_bound=1
)
_TOP_K = flags.DEFINE_integer(
    "top_k", None, "Tokens for each [MASK]; by default 5.", lower_bound=1
)


def main(argv):
    """Reads the flags and the texts, and writes the answers."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    if bool(_INPUT.value) == bool(_TEXT.value):
        raise ValueError("Give one of --input and --text.")
    import kbert
    from kbert.data import tables
    from kbert.runs import files
    from kbert.runs.progress import Progress

    server = kbert.load(_MODEL.value)
    options: dict[str, Any] = {}
    if _TOP_K.value:
        if not isinstance(server, kbert.MaskFiller):
            raise ValueError(f"--top_k: {_MODEL.value} fills in no [MASK].")
        options["top_k"] = _TOP_K.value
    if _INPUT.value:
        given = _READING()
        names = given.pop("text_columns") or []
        del given["label_column"], given["choice_columns"]
        if len(names) != len(server.text_inputs):
            raise ValueError(
                f"--text_columns={','.join(names)}: wanted "
                f"{len(server.text_inputs)} column names."
            )
        texts = tables.read_table(_INPUT.value, names, None, **given).texts
    else:
        texts = _given_texts(server)
    answers = server.predict(
        *texts,
        batch_size=_BATCH_SIZE.value,
        progress=functools.partial(Progress(), "answering"),
        **options,
    )
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in answers]
    if _OUTPUT.value:
        files.write_text(_OUTPUT.value, "".join(lines))
        return
    sys.stdout.writelines(lines)


def _given_texts(server):
    texts = [_TEXT.value, _TEXT_B.value][: len(server.text_inputs)]
    if len(server.text_inputs) == 1 and _TEXT_B.value:
        raise ValueError(f"--text_b: {_MODEL.value} takes single texts.")
    if len(texts[0]) != len(texts[-1]):
        raise ValueError(
            f"--text_b is given {len(texts[-1])} times, --text "
            f"{len(texts[0])} times; {_MODEL.value} takes pairs."
        )
    return texts


def cli():
    """The console script."""
    run(main, __file__)


if __name__ == "__main__":
    cli()
