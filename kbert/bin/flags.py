# SPDX-License-Identifier: Apache-2.0
"""Flags that several commands share: each function defines one or more.

A command calls the functions that it needs, as in `_MODEL = shared.model()`.
absl then treats the flag as the command's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from absl import flags

if TYPE_CHECKING:  # it takes seconds to import
    from kbert.data.masking import Masking

flags.disclaim_key_flags()  # flags belong to the calling module


# The formats of `kbert.checkpoints.formats`.
FORMATS = (
    "a folder of kbert, Hugging Face, sentence-transformers or KerasHub, or a "
    "checkpoint of TensorFlow 1 or Model Garden"
)


def model() -> flags.FlagHolder[str | None]:
    """Defines --model, a trained model of any format; it is required."""
    return flags.DEFINE_string(
        "model", None, f"The trained model: {FORMATS}.", required=True
    )


def task() -> Callable[[str | None], None]:
    """Defines --task, which refuses a model for another task.

    Returns: a function that checks the task of the model, or None where any
        task is allowed; it raises ValueError, naming the flag.
    """
    holder = flags.DEFINE_string(
        "task", None, "Refuse a --model for any other task."
    )

    def check(found):
        if holder.value is None:
            return
        if found is None:
            raise ValueError("--task: only for --output=answers.")
        if holder.value != found:
            raise ValueError(f"--task={holder.value}: the model's is {found}.")

    return check


def lower_case() -> flags.FlagHolder[bool | None]:
    """Defines --lower_case, for a vocabulary whose casing is in no file."""
    return flags.DEFINE_boolean(
        "lower_case",
        None,
        "Casing of a vocabulary, if no file gives it: for a vocab.txt without "
        "a vocab.json in its folder, or a checkpoint of TensorFlow 1 or Model "
        "Garden.",
    )


def masking() -> Callable[[], Masking | None]:
    """Defines the flags of Masking, for records whose rows are not masked.

    Returns: a function that returns the Masking, or None if no flag was given;
        it raises ValueError, naming the flag.
    """
    holders = {
        "max_predictions": flags.DEFINE_integer(
            "max_predictions",
            None,
            "Maximum predictions per row, for records that are not masked, as "
            "are the next three flags.",
        ),
        "masked_lm_prob": flags.DEFINE_float(
            "masked_lm_prob", 0.15, "Share of the tokens to predict."
        ),
        "whole_words": flags.DEFINE_boolean(
            "whole_words", False, "Mask all tokens of a word together."
        ),
        "max_ngram": flags.DEFINE_integer(
            "max_ngram",
            1,
            "Maximum tokens, or whole words, masked as one span.",
        ),
    }

    def given():
        from kbert.data.masking import Masking

        # Not `present`: a run's flags.txt has every flag.
        if all(holder.value == holder.default for holder in holders.values()):
            return None
        return Masking(**{name: h.value for name, h in holders.items()})

    return given


def reading(file_flag: str = "input") -> Callable[..., dict[str, Any]]:
    """Defines the flags about reading the files of a task.

    Args:
        file_flag: the flag that names the file.
    Returns: a function of whether there is a file, which returns these fields
        of DataOptions; it raises ValueError, naming a flag that is given
        without a file.
    """
    holders = {
        "text_columns": flags.DEFINE_list(
            "text_columns",
            None,
            "Column with the text, or two for pairs: a,b. By default "
            "kbert-predict takes those named like the model's inputs, such as "
            "text.",
        ),
        "choice_columns": flags.DEFINE_list(
            "choice_columns",
            None,
            "Columns with the choices, for multiple_choice, or one with lists "
            "in a .jsonl or a .parquet; the label is the index of the correct "
            "one, from 0. A second text column is then the start of each "
            "choice.",
        ),
        "label_column": flags.DEFINE_string(
            "label_column", None, "Column with the label; by default label."
        ),
        "header": flags.DEFINE_list(
            "header",
            None,
            "Names of all columns, for a table without a header line.",
        ),
        "tag_scheme": flags.DEFINE_enum(
            "tag_scheme",
            None,
            ["strict", "lenient"],
            "tagging: whether tags that break the rules of IOB1, IOB2, BIOES, "
            "BILOU and BMES, such as an I- after an O, are refused (strict, "
            "the default), or read as CoNLL's conlleval does (lenient).",
        ),
        "encoding": flags.DEFINE_string(
            "encoding", "utf-8", "Encoding of the files, such as latin-1."
        ),
    }

    def given(is_file=True):
        if not is_file:
            _refuse(holders, f"only for --{file_flag}")
        return {name: holder.value for name, holder in holders.items()}

    return given


def _refuse(holders, why):
    """Checks that no flag was given.

    Raises: ValueError, naming one.
    """
    for name, holder in holders.items():
        if holder.value != holder.default:
            raise ValueError(f"--{name}: {why}.")


def aggregation() -> Callable[..., dict[str, Any]]:
    """Defines --aggregation, which replaces that of a tagger's folder.

    Returns: a function of whether predictions are made, which returns the
        settings to change, see `TaskSpec.with_settings`; it raises ValueError,
        naming the flag, if it is given without predictions.
    """
    holder = flags.DEFINE_enum(
        "aggregation",
        None,
        ["first", "simple", "joined"],
        "How a tagger's tags become entities; by default as in its folder. "
        "first: a word has the tag of its first token; simple: each token has "
        "its own tag; joined: like first, and adjacent entities of one type "
        "are merged.",
    )

    def given(predicts=True):
        if not predicts:
            _refuse({holder.name: holder}, "only for --output=answers")
        return {holder.name: holder.value} if holder.value else {}

    return given


def embedding() -> Callable[[bool], dict[str, Any]]:
    """Defines the flags of embeddings.

    Returns: a function of whether embeddings are computed, which returns the
        settings that were given: arguments of
        `kbert.Embedder.from_pretrained`, and "kind" of its `predict`; it
        raises ValueError, naming a flag that is given without embeddings.
    """
    holders = {
        "pooling": flags.DEFINE_enum(
            "pooling",
            None,
            ["cls", "mean", "max", "mean_sqrt_len_tokens"],
            "Pooling of the token vectors; by default that of an encoder's "
            "folder, and mean for other models.",
        ),
        "normalize": flags.DEFINE_boolean(
            "normalize",
            None,
            "Whether embeddings have length 1; by default as in an encoder's "
            "folder, and false for other models.",
        ),
        "layer": flags.DEFINE_integer(
            "layer", -1, "Layer of the embeddings: 0 is the lowest, -1 the top."
        ),
        "kind": flags.DEFINE_enum(
            "kind",
            None,
            ["query", "document"],
            "What the texts are, for a model with a prompt for each.",
        ),
    }

    def given(embeds):
        if not embeds:
            _refuse(holders, "only for --output=embeddings")
            return {}
        values = {name: holder.value for name, holder in holders.items()}
        return {name: x for name, x in values.items() if x is not None}

    return given
