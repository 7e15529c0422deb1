# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the tokenizer files of a Hugging Face BERT.

The tokens are in vocab.txt or tokenizer.json, the settings of the tokenizer in
tokenizer_config.json and also in tokenizer.json.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from kbert import json_files
from kbert.checkpoints.foreign import Report
from kbert.text.vocabulary import (
    CLS,
    MASK,
    PAD,
    SEP,
    SPECIAL_TOKENS,
    UNK,
    VOCABULARY_FILE,
    Vocabulary,
    name_unused,
    read_tokens,
)

_CONFIG = "tokenizer_config.json"
_TOKENIZER = "tokenizer.json"
_ADDED = "added_tokens.json"
_SPECIAL = "special_tokens_map.json"

# Fields of Vocabulary -> names in _CONFIG and in the normalizer of _TOKENIZER.
_CASING = {
    "lower_case": ("do_lower_case", "lowercase"),
    "strip_accents": ("strip_accents", "strip_accents"),
    "tokenize_chinese_chars": (
        "tokenize_chinese_chars",
        "handle_chinese_chars",
    ),
}
# Fields of which kbert's tokenizer supports only these values, or no value.
_CONFIG_MAY_BE = {
    "tokenizer_class": (
        *("BertTokenizer", "BertTokenizerFast"),
        *("PreTrainedTokenizerFast", "TokenizersBackend"),
    ),
    "do_basic_tokenize": (True,),
    "padding_side": ("right",),
    "truncation_side": ("right",),
    "never_split": ([],),
    "pad_token": (PAD,),
    "unk_token": (UNK,),
    "cls_token": (CLS,),
    "sep_token": (SEP,),
    "mask_token": (MASK,),
}
_TOKENIZER_MAY_BE = {
    "model": {
        "type": ("WordPiece",),
        "unk_token": (UNK,),
        "continuing_subword_prefix": ("##",),
        "max_input_chars_per_word": (100,),
    },
    "normalizer": {"type": ("BertNormalizer",), "clean_text": (True,)},
    "pre_tokenizer": {"type": ("BertPreTokenizer",)},
}

# Tokens and segments of a row, in the form of _TOKENIZER's post_processor.
_ROWS = {
    "single": [(CLS, 0), ("A", 0), (SEP, 0)],
    "pair": [(CLS, 0), ("A", 0), (SEP, 0), ("B", 1), (SEP, 1)],
}


def read(
    folder: pathlib.Path, lower_case: bool | None, report: Report
) -> tuple[Vocabulary, int | None]:
    """Reads the vocabulary and the maximum length of rows.

    Args:
        folder: a folder with vocab.txt, tokenizer.json, or both.
        lower_case: the casing, if no file gives it; it must not contradict a
            file.
        report: called with each message, such as one about added tokens, which
            Hugging Face finds in a text before it is split into words, and
            kbert does not.
    Returns: the vocabulary and model_max_length, None if there is no limit.
    Raises: ValueError, naming the file and the field, if the files are not a
        BERT tokenizer or contradict each other; OSError.
    """
    config = _optional_fields(folder / _CONFIG)
    _check_fields(folder / _CONFIG, config, _CONFIG_MAY_BE)
    special = {k: v for k, v in _CONFIG_MAY_BE.items() if k.endswith("_token")}
    _check_fields(
        folder / _SPECIAL, _optional_fields(folder / _SPECIAL), special
    )
    tokenizer = _optional_fields(folder / _TOKENIZER)
    for part, allowed in _TOKENIZER_MAY_BE.items():
        if tokenizer:
            fields = _part(folder, tokenizer, part)
            _check_fields(f"{folder / _TOKENIZER}: {part}", fields, allowed)
    if tokenizer.get("post_processor") is not None:
        _check_rows(folder / _TOKENIZER, tokenizer["post_processor"])
    tokens = _tokens(folder, tokenizer, report)
    casing = _casing(folder, config, tokenizer, lower_case, report)
    try:
        vocabulary = Vocabulary(tokens, **casing)
    except ValueError as error:
        raise ValueError(f"{folder}: vocabulary: {error}") from None
    added = _added(folder, config, tokenizer) - set(SPECIAL_TOKENS)
    if added:
        report(
            f"{len(added)} added tokens, which kbert's tokenizer does not "
            f"treat specially: {', '.join(sorted(added))}."
        )
    return vocabulary, _max_length(config)


def write(
    folder: pathlib.Path,
    vocabulary: Vocabulary,
    max_length: int,
    *,
    has_segments: bool,
) -> None:
    """Writes vocab.txt and tokenizer_config.json.

    Args:
        folder: the folder to write to.
        vocabulary: the vocabulary of the model.
        max_length: maximum tokens per row.
        has_segments: whether the model has more than one segment vector.
    """
    text = "".join(f"{token}\n" for token in vocabulary.tokens)
    (folder / VOCABULARY_FILE).write_text(text, encoding="utf-8", newline="\n")
    fields = {
        "tokenizer_class": "BertTokenizer",
        "model_max_length": max_length,
        **{
            theirs: getattr(vocabulary, ours)
            for ours, (theirs, _) in _CASING.items()
        },
        "pad_token": PAD,
        "unk_token": UNK,
        "cls_token": CLS,
        "sep_token": SEP,
        "mask_token": MASK,
    }
    if not has_segments:  # without token_type_ids they are all 0
        fields["model_input_names"] = ["input_ids", "attention_mask"]
    text = json.dumps(fields, indent=2) + "\n"
    (folder / _CONFIG).write_text(text, encoding="utf-8")


def _optional_fields(path) -> dict[str, Any]:
    return json_files.read(path) if os.path.lexists(path) else {}


def _part(folder, tokenizer, name) -> dict[str, Any]:
    fields = tokenizer.get(name)
    if not isinstance(fields, dict):
        raise ValueError(
            f"{folder / _TOKENIZER}: {name} is missing; needs that of a BERT "
            "tokenizer."
        )
    return fields


def _check_fields(
    where: str | os.PathLike,
    fields: Mapping[str, Any],
    allowed: Mapping[str, tuple],
):
    for name, values in allowed.items():
        value = fields.get(name)
        if isinstance(value, dict):  # a token with its properties
            value = value.get("content")
        if value is not None and value not in values:
            needed = " or ".join(repr(value) for value in values)
            raise ValueError(
                f"{where}: {name} is {value!r}; kbert's tokenizer has {needed}."
            )


def _check_rows(path, processor):
    """Checks that rows have BERT's form: [CLS] a [SEP] b [SEP]."""
    try:
        if processor["type"] == "BertProcessing":
            is_bert = (processor["cls"][0], processor["sep"][0]) == (CLS, SEP)
        else:
            rows = {
                name: [
                    (part["id"], part["type_id"])
                    for one in processor[name]
                    for part in one.values()
                ]
                for name in _ROWS
            }
            is_bert = rows == _ROWS
    except (AttributeError, IndexError, KeyError, TypeError):
        is_bert = False
    if not is_bert:
        raise ValueError(
            f"{path}: post_processor does not make BERT's rows, [CLS] a [SEP] "
            "and [CLS] a [SEP] b [SEP]."
        )


def _tokens(folder, tokenizer, report) -> tuple[str, ...]:
    path = folder / VOCABULARY_FILE
    lines = read_tokens(path, report) if os.path.lexists(path) else None
    if not tokenizer:
        if lines is None:
            raise ValueError(
                f"{folder}: no {VOCABULARY_FILE} and no {_TOKENIZER}; needs "
                "one of them for the tokens."
            )
        return lines
    ids = _part(folder, tokenizer, "model").get("vocab")
    # Each id once; some are missing where vocab.txt had repeated lines.
    if (
        not isinstance(ids, dict)
        or {type(x) for x in ids.values()} != {int}
        or len(set(ids.values())) < len(ids)
        or not 0 <= min(ids.values()) <= max(ids.values()) < 2 * len(ids)
    ):
        raise ValueError(
            f"{folder / _TOKENIZER}: model: vocab is not an object of tokens "
            "with the ids 0, 1, 2, ..."
        )
    by_id = [""] * (max(ids.values()) + 1)
    for token, index in ids.items():
        by_id[index] = token
    # Unused ids were already reported for vocab.txt.
    quiet = report if lines is None else lambda line: None
    tokens = name_unused(by_id, folder / _TOKENIZER, quiet)
    if lines not in (None, tokens):
        raise ValueError(
            f"{folder}: {VOCABULARY_FILE} and {_TOKENIZER} have different "
            "tokens."
        )
    return tokens


def _casing(folder, config, tokenizer, lower_case, report) -> dict[str, Any]:
    normalizer = tokenizer.get("normalizer", {})
    casing = {}
    for ours, (in_config, in_normalizer) in _CASING.items():
        in_files = config.get(in_config), normalizer.get(in_normalizer)
        stated = {
            f"{folder / _CONFIG}: {in_config}": in_files[0],
            f"{folder / _TOKENIZER}: {in_normalizer}": in_files[1],
        }
        if ours == "lower_case" and lower_case is not None:
            if set(in_files) == {True, False}:
                report(
                    f"{_CONFIG} has {in_config} {in_files[0]}, {_TOKENIZER} "
                    f"{in_normalizer} {in_files[1]}: using --lower_case, "
                    f"{lower_case}."
                )
                stated = {}
            stated["--lower_case"] = lower_case
        casing[ours] = _agreed(stated)
        if in_files[0] is None and in_files[1] is not None:
            report(
                f"{_CONFIG} has no {in_config}: using that of {_TOKENIZER}, "
                f"{in_files[1]}."
            )
    if casing["lower_case"] is None:
        raise ValueError(
            f"{folder / _CONFIG}: do_lower_case is missing. Give "
            "--lower_case=true (uncased) or =false (cased)."
        )
    return {ours: value for ours, value in casing.items() if value is not None}


def _agreed(stated: Mapping[str, Any]) -> bool | None:
    """Returns the one stated value, or None; keys are names for messages."""
    stated = {k: v for k, v in stated.items() if v is not None}
    for where, value in stated.items():
        if not isinstance(value, bool):
            raise ValueError(f"{where} is {value!r}; needs true or false.")
    if len(set(stated.values())) > 1:
        both = [f"{where} is {value}" for where, value in stated.items()]
        settle = (
            ""
            if "--lower_case" in stated
            else " Give --lower_case=true or =false to settle the casing."
        )
        raise ValueError(f"{', but '.join(both)}.{settle}")
    return next(iter(stated.values()), None)


def _added(folder, config, tokenizer) -> set[str]:
    """Returns the tokens that were added to the WordPiece vocabulary."""
    listed = tokenizer.get("added_tokens") or []
    decoder = config.get("added_tokens_decoder") or {}
    extra = config.get("extra_special_tokens") or []
    extra = extra.values() if isinstance(extra, dict) else extra
    more = config.get("additional_special_tokens") or []
    try:
        names = {
            *(token["content"] for token in (*listed, *decoder.values())),
            *(
                t["content"] if isinstance(t, dict) else str(t)
                for t in (*extra, *more)
            ),
            *_optional_fields(folder / _ADDED),
        }
        "".join(names)  # a TypeError if one is not a string
        return names
    except (AttributeError, KeyError, TypeError):
        raise ValueError(
            f"{folder}: {_CONFIG} or {_TOKENIZER} has added tokens in an "
            "unknown form."
        ) from None


def _max_length(config) -> int | None:
    value = config.get("model_max_length")
    # Without a limit it is 10 to the 30th; two tokens leave no room for text.
    return value if type(value) is int and 3 <= value < 10**9 else None
