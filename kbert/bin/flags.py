# SPDX-License-Identifier: Apache-2.0
"""Flags that several commands have: one function defines one flag.

A command calls the functions it needs, `_MODEL = shared.model()`, and has no
other flags than those. absl then counts the flag as the command's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from absl import flags

if TYPE_CHECKING:  # it takes seconds to import
    from kbert.data.masking import Masking

flags.disclaim_key_flags()  # they belong to the module that calls


# What `kbert.checkpoints.formats` reads.
FORMATS = (
    "a folder of kbert, Hugging Face, sentence-transformers or KerasHub, or a "
    "checkpoint of TensorFlow 1 or Model Garden"
)


def model() -> flags.FlagHolder[str | None]:
    """--model, a trained model of any format; it must be given."""
    return flags.DEFINE_string(
        "model", None, f"The trained model: {FORMATS}.", required=True
    )


def task() -> Callable[[str | None], None]:
    """--task, which a model's folder says; given, another one is refused.

    Returns: a function of the task of the model that was read, None where
        models of any do; it raises ValueError, naming the flag.
    """
    holder = flags.DEFINE_string(
        "task", None, "Refuse a --model of another task than this."
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
    """--lower_case, for a vocabulary of which no file says it."""
    return flags.DEFINE_boolean(
        "lower_case",
        None,
        "Casing of a vocabulary, where no file says it: of a vocab.txt without "
        "a vocab.json next to it, of a checkpoint of TensorFlow 1 or Model "
        "Garden.",
    )


def masking() -> Callable[[], Masking | None]:
    """The fields of Masking, for records whose rows are not masked.

    Returns: a function that gives the Masking, or None if no flag was given;
        it raises ValueError, naming the flag.
    """
    holders = {
        "max_predictions": flags.DEFINE_integer(
            "max_predictions",
            None,
            "Tokens to predict in a row at most, for records that are not "
            "masked; so are the next three.",
        ),
        "masked_lm_prob": flags.DEFINE_float(
            "masked_lm_prob", 0.15, "Share of the tokens to predict."
        ),
        "whole_words": flags.DEFINE_boolean(
            "whole_words", False, "Hide all pieces of a word."
        ),
        "max_ngram": flags.DEFINE_integer(
            "max_ngram", 1, "Most tokens, or whole words, hidden in one go."
        ),
    }

    def given():
        from kbert.data.masking import Masking

        # Not `present`: a run's flags.txt names every flag.
        if all(holder.value == holder.default for holder in holders.values()):
            return None
        return Masking(**{name: h.value for name, h in holders.items()})

    return given


def reading(file_flag: str = "input") -> Callable[..., dict[str, Any]]:
    """How the files of a task are read: those fields of DataOptions.

    Args:
        file_flag: what names the file, where there may be none.
    Returns: a function of whether there is a file, that gives them; it raises
        ValueError, naming a flag that was given in vain.
    """
    holders = {
        "text_columns": flags.DEFINE_list(
            "text_columns",
            None,
            "Column with the text, or two for pairs: a,b. kbert-predict takes "
            "those that are named as the model's inputs, such as text.",
        ),
        "choice_columns": flags.DEFINE_list(
            "choice_columns",
            None,
            "Columns with the choices, for multiple_choice, or one of lists "
            "in a .jsonl or a .parquet; the label is the index of the right "
            "one, from 0. A second text column is then the beginning of each "
            "choice.",
        ),
        "label_column": flags.DEFINE_string(
            "label_column", None, "Column of the label; by default label."
        ),
        "header": flags.DEFINE_list(
            "header",
            None,
            "Names of all columns, of a table without a line of them on top.",
        ),
        "tag_scheme": flags.DEFINE_enum(
            "tag_scheme",
            None,
            ["strict", "lenient"],
            "tagging: whether tags of entities that break the rules of IOB1, "
            "IOB2, BIOES, BILOU and BMES, such as an I- after an O, are "
            "refused, as by default, or read as CoNLL's conlleval reads them.",
        ),
        "encoding": flags.DEFINE_string(
            "encoding", "utf-8", "Of the files, such as latin-1."
        ),
    }

    def given(is_file=True):
        if not is_file:
            _refuse(holders, f"only for --{file_flag}")
        return {name: holder.value for name, holder in holders.items()}

    return given


def _refuse(holders, why):
    """Raises: ValueError, naming one that was given."""
    for name, holder in holders.items():
        if holder.value != holder.default:
            raise ValueError(f"--{name}: {why}.")


def aggregation() -> Callable[..., dict[str, Any]]:
    """--aggregation, of a tagger, instead of the one of its folder.

    Returns: a function of whether answers are wanted, that gives the settings
        that are other than the folder's, see `TaskSpec.with_settings`; it
        raises ValueError, naming the flag, if it was given in vain.
    """
    holder = flags.DEFINE_enum(
        "aggregation",
        None,
        ["first", "simple", "joined"],
        "How a tagger's tags become entities, if not as it was fine-tuned for. "
        "first: a word has the tag of its first token; simple: each token of a "
        "text has its own; joined: as first, and entities of one type side by "
        "side are one.",
    )

    def given(wanted=True):
        if not wanted:
            _refuse({holder.name: holder}, "only for --output=answers")
        return {holder.name: holder.value} if holder.value else {}

    return given


def embedding() -> Callable[[bool], dict[str, Any]]:
    """How texts become vectors: arguments of kbert.Embedder.

    Returns: a function of whether vectors are wanted, that gives them, or
        nothing; it raises ValueError, naming a flag that was given in vain.
    """
    holders = {
        "pooling": flags.DEFINE_enum(
            "pooling",
            None,
            ["cls", "mean", "max"],
            "How those of a text's tokens become an embedding; by default as "
            "the folder of an encoder says, and the mean for other models.",
        ),
        "normalize": flags.DEFINE_boolean(
            "normalize",
            None,
            "Whether embeddings have length 1; by default as the folder of an "
            "encoder says, and not for other models.",
        ),
        "layer": flags.DEFINE_integer(
            "layer", -1, "Of embeddings: 0 is the lowest, -1 the top."
        ),
    }

    def given(wanted):
        if not wanted:
            _refuse(holders, "only for --output=embeddings")
            return {}
        values = {name: holder.value for name, holder in holders.items()}
        return {name: x for name, x in values.items() if x is not None}

    return given
