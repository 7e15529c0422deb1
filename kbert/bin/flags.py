# SPDX-License-Identifier: Apache-2.0
"""Flags that several commands have: one function defines one flag.

A command calls the functions it needs, `_MODEL = shared.model()`, and has no
other flags than those. absl then counts the flag as the command's own.
"""

from absl import flags

flags.disclaim_key_flags()  # they belong to the module that calls


def model() -> flags.FlagHolder[str | None]:
    """--model, the folder of a trained kbert model; it must be given."""
    return flags.DEFINE_string(
        "model", None, "Folder of a trained kbert model.", required=True
    )


def lower_case() -> flags.FlagHolder[bool | None]:
    """--lower_case, for a vocab.txt that has no vocab.json beside it."""
    return flags.DEFINE_boolean(
        "lower_case",
        None,
        "Casing of a vocab.txt without a vocab.json beside it.",
    )


def text_columns() -> flags.FlagHolder[list[str] | None]:
    """--text_columns, the names of one column or of two."""
    return flags.DEFINE_list(
        "text_columns", None, "Column with the text, or two for pairs: a,b."
    )


def label_column() -> flags.FlagHolder[str | None]:
    """--label_column, a name."""
    return flags.DEFINE_string("label_column", "label", "Column of the label.")


def columns(names: list[str] | None, num_texts: int) -> list[str]:
    """Checks that --text_columns names a column for each text of a model.

    Raises: ValueError, naming the flag.
    """
    if names is None or len(names) != num_texts:
        raise ValueError(
            f"--text_columns={','.join(names or [])}: wanted {num_texts} "
            f"column name{'s' if num_texts > 1 else ''}."
        )
    return names
