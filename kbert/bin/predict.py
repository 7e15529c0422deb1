# SPDX-License-Identifier: Apache-2.0
"""Prints a trained model's predictions for texts, one JSON object per line.

The texts are columns of a table (--input, --text_columns), or flags:

    kbert-predict --model=DIR --text="A fine film." --text="Two dull hours."

A pre-trained model fills in each [MASK] of a text:

    kbert-predict --model=DIR --text="New [MASK] is a city." --top_k=3

With --output=embeddings any model gives a vector for each text. A run with an
--output_file resumes if it was stopped.
"""

import sys

from absl import app, flags

from kbert.bin import flags as shared
from kbert.bin import run

_MODEL = shared.model()
_LOWER_CASE = shared.lower_case()
_TASK = shared.task()
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "A table as for kbert-finetune --train, a .txt with one text per line, or "
    "a file in the task's format. A tagger's .tsv is a table if its header has "
    "the column text or --text_columns names one, else words and tags.",
)
_READING = shared.reading()
_TEXT = flags.DEFINE_multi_string(
    "text", [], "A text; give the flag once for each text."
)
_TEXT_B = flags.DEFINE_multi_string(
    "text_b", [], "The second text of a pair, as often as --text."
)
_OUTPUT = flags.DEFINE_enum(
    "output", "answers", ["answers", "embeddings"], "The kind of output."
)
_EMBEDDING = shared.embedding()
_AGGREGATION = shared.aggregation()
_OUTPUT_FILE = flags.DEFINE_string(
    "output_file",
    None,
    "File for the output instead of stdout: .jsonl, .csv, .tsv or .parquet for "
    "answers, with a column for each class's probability in .csv and .tsv "
    "(which cannot contain tabs or line breaks); .npy or .parquet for "
    "embeddings.",
)
_KEEP_COLUMNS = flags.DEFINE_list(
    "keep_columns",
    [],
    "Columns of --input to copy to the output, or * for all; one with the name "
    "of an output column becomes input_NAME.",
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 32, "Texts per batch.", lower_bound=1
)
_TOP_K = flags.DEFINE_integer(
    "top_k", None, "Tokens for each [MASK]; by default 5.", lower_bound=1
)
_N_BEST = flags.DEFINE_integer(
    "n_best",
    None,
    "Number of best answers to list for a question; by default 20.",
    lower_bound=1,
    upper_bound=20,
)


def main(argv):
    """Reads the texts and writes the predictions."""
    if len(argv) > 1:
        raise app.UsageError(f"Not a flag: {argv[1:]}")
    _check_flags()
    from kbert.checkpoints import formats
    from kbert.runs import predicting
    from kbert.runs.progress import Progress

    how = _EMBEDDING(_OUTPUT.value == "embeddings")
    changed = _AGGREGATION(not how)
    predictor = _predictor(how, changed)
    texts = _texts(predictor)
    chunks = predicting.ChunkedPredictor(
        predictor, _options(predictor), Progress()
    )
    if _OUTPUT_FILE.value:
        named = (_OUTPUT, _BATCH_SIZE, _TOP_K, _N_BEST, _KEEP_COLUMNS)
        settings = {x.name: x.value for x in (*named, _LOWER_CASE)}
        settings["model"] = formats.fingerprint(_MODEL.value)
        settings |= {**how, **changed}
        chunks.to_file(texts, _OUTPUT_FILE.value, settings)
    else:
        chunks.to_stream(texts, sys.stdout)
    if chunks.num_truncated:
        print(
            f"{texts.name}: {chunks.num_rows:,} rows, "
            f"{chunks.num_truncated:,} of them truncated",
            file=sys.stderr,
        )


def _predictor(how, changed):
    """Loads the model; an Embedder if `how` has settings of embeddings.

    Raises: ValueError if it is not for --task, or only gives embeddings.
    """
    import kbert

    casing = _LOWER_CASE.value
    if how:
        _TASK(None)
        settings = {name: x for name, x in how.items() if name != "kind"}
        return kbert.Embedder.from_pretrained(
            _MODEL.value, lower_case=casing, **settings
        ).predictor_of(how.get("kind"))
    model = kbert.load(_MODEL.value, lower_case=casing, **changed)
    _TASK(model.spec.task)
    if isinstance(model, kbert.Embedder):
        raise ValueError(
            f"{_MODEL.value}: The model's task is {model.spec.task!r}: it "
            "gives a text a vector (--output=embeddings), and no prediction "
            "before kbert-finetune trains it for a task."
        )
    return model.predictor


def _options(predictor):
    """Returns the keyword arguments of the predictor's `predict`."""
    from kbert.tasks.masked_lm.predictor import MaskFiller
    from kbert.tasks.question_answering.predictor import QuestionPredictor

    options = {"batch_size": _BATCH_SIZE.value}
    if _TOP_K.value:
        if not isinstance(predictor, MaskFiller):
            raise ValueError(f"--top_k: {_MODEL.value} fills in no [MASK].")
        options["top_k"] = _TOP_K.value
    if _N_BEST.value:
        settings = predictor.spec.settings
        if (
            not isinstance(predictor, QuestionPredictor)
            or settings.several_answers
        ):
            raise ValueError(
                f"--n_best: {_MODEL.value} does not list best answers."
            )
        options["n_best"] = _N_BEST.value
    return options


def _check_flags():
    """Checks that the flags fit together.

    Raises: ValueError, naming a flag.
    """
    if bool(_INPUT.value) == bool(_TEXT.value):
        raise ValueError("Give one of --input and --text.")
    is_vectors = _OUTPUT.value == "embeddings"
    if is_vectors and not _OUTPUT_FILE.value:
        raise ValueError("--output=embeddings: needs an --output_file too.")
    if _KEEP_COLUMNS.value and (is_vectors or not _INPUT.value):
        raise ValueError(
            "--keep_columns: only for the predictions for --input."
        )


def _texts(predictor):
    from kbert.runs import predicting
    from kbert.tasks.rows import DataOptions

    reading = _READING(bool(_INPUT.value))
    if not _INPUT.value:
        return predicting.given_texts(predictor, _TEXT.value, _TEXT_B.value)
    if _TEXT_B.value:
        raise ValueError("--text_b: only for --text.")
    options = DataOptions(**reading)
    return predicting.file_texts(
        predictor, _INPUT.value, options, _KEEP_COLUMNS.value
    )


def cli():
    """The console script."""
    run(main, __file__, resumes=True)


if __name__ == "__main__":
    cli()
