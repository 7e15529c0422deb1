# SPDX-License-Identifier: Apache-2.0
"""Mines hard negatives, to train vectors and rerankers with.

A query's hard negatives are the texts of the corpus that an embedder finds
nearest to it, of those that are not its positives. The corpus is the positives
of all rows, and the texts of --corpus or of a BEIR folder's corpus.jsonl. With
--reranker its scores say which of them are no answers.
Writes JSON Lines with anchor, positive, negative_1, ... Started again after it
was killed, it resumes.
"""

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import option_flags, run
from kbert.runs.mining_config import MiningConfig

_MODEL = shared.model()
_LOWER_CASE = shared.lower_case()
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "A table with a query and a positive a row, named by --text_columns; or "
    "the qrels file of a BEIR folder, FOLDER/qrels/train.tsv.",
    required=True,
)
_READING = shared.reading()
_CORPUS = flags.DEFINE_string(
    "corpus",
    None,
    "More texts to search: a .txt with one a line, or a table.",
)
_CORPUS_COLUMN = flags.DEFINE_string(
    "corpus_column", "text", "The column of --corpus with the texts."
)
_RERANKER = flags.DEFINE_string(
    "reranker",
    None,
    "A reranker, whose scores of the nearest texts count instead of cosines.",
)
_OUTPUT_FILE = flags.DEFINE_string(
    "output_file", None, "The .jsonl to write.", required=True
)
option_flags.define(MiningConfig)


def main(argv):
    """Reads the rows, and writes them with negatives."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    import kbert
    from kbert.checkpoints import formats
    from kbert.runs import mining
    from kbert.tasks.rows import DataOptions

    config = MiningConfig(**option_flags.values(MiningConfig))
    options = DataOptions(**_READING())
    rows = kbert.Embedder.read(_INPUT.value, options)
    if len(rows.texts) < 2 or rows.texts[0] is rows.texts[1]:
        raise ValueError(
            "--text_columns: needs a column of queries and one of positives."
        )
    mining.mine(
        kbert.Embedder.from_pretrained(
            _MODEL.value, lower_case=_LOWER_CASE.value
        ),
        rows.with_others(_corpus(options.encoding)),
        _OUTPUT_FILE.value,
        config=config,
        settings={
            "models": [
                formats.fingerprint(path)
                for path in (_MODEL.value, _RERANKER.value)
                if path
            ],
            "corpus": _CORPUS.value,
        },
        reranker=_reranker(),
    )


def _reranker():
    import kbert

    if not _RERANKER.value:
        return None
    found = kbert.load(_RERANKER.value)
    if not isinstance(found, kbert.Reranker):
        raise ValueError(
            f"--reranker={_RERANKER.value}: a model for {found.spec.task}; "
            "needs one for reranking."
        )
    return found


def _corpus(encoding):
    from kbert.data import tables

    if not _CORPUS.value:
        return []
    column = _CORPUS_COLUMN.value
    found = tables.read_table(_CORPUS.value, [column], None, encoding=encoding)
    return found.texts[0]


def cli():
    """The console script."""
    run(main, __file__, resumes=True)


if __name__ == "__main__":
    cli()
