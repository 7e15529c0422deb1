# SPDX-License-Identifier: Apache-2.0
"""Finds record files that belong together, and their vocabulary.

A folder of kbert's records also has `vocab.txt`, `vocab.json` and
`records.json`: the settings of the rows, and the rows and bytes of each file,
so that a truncated file is found before training starts. Files of
google-research/bert or Model Garden have none of these: they need a
vocabulary, and are read once to count and check their rows.
"""

import dataclasses
import fnmatch
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

from kbert import atomic_files, json_files
from kbert.data import records
from kbert.json_files import Range
from kbert.text import text_files as text_files
from kbert.text.vocabulary import Vocabulary

FORMAT_VERSION = 1
MANIFEST = "records.json"  # written last, when all files are complete
_NATURAL = Range(at_least=0)


class _Entry(TypedDict):
    rows: Annotated[int, _NATURAL]
    bytes: Annotated[int, _NATURAL]


class _Manifest(TypedDict):
    """The fields of records.json that are needed to read the records."""

    format_version: Literal[1]
    fingerprint: str
    max_seq_length: Annotated[int, Range(at_least=1, at_most=2**17)]
    max_predictions: Annotated[int, Range(at_least=0, at_most=2**17)]
    masked: bool
    next_sentence: bool
    packed: bool
    files: dict[str, _Entry]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordSet:
    """Record files with the same lengths and vocabulary.

    Attributes:
        files: the paths, in order.
        num_rows: the number of rows in all files.
        row: the lengths and contents of each row.
        vocabulary: the vocabulary of the token ids.
    """

    files: tuple[str, ...]
    num_rows: int
    row: records.RowLengths
    vocabulary: Vocabulary

    def explain_damage(self):
        """Converts errors at damaged rows; see `records.explain_damage`."""
        return records.explain_damage(
            self.files, self.row, len(self.vocabulary)
        )


def find(
    patterns: str,
    *,
    vocabulary: Vocabulary | None = None,
    max_positions: int | None = None,
) -> RecordSet:
    """Finds record files and checks that they can be used together.

    Args:
        patterns: comma-separated folders, paths and globs.
        vocabulary: the model's vocabulary; optional for kbert's records.
        max_positions: the maximum tokens per row of the model, if known.
    Raises: ValueError, naming the file, what was found and what is needed.
    """
    patterns = _files_in_folders(patterns)
    paths = text_files.expand(patterns)
    sets = []
    for folder, group in itertools.groupby(paths, os.path.dirname):
        if os.path.exists(os.path.join(folder, MANIFEST)):
            sets.append(_read_own(folder, list(group), patterns.split(",")))
        else:
            sets.append(_read_foreign(list(group), vocabulary))
    first = sets[0]
    for other in sets[1:]:
        _check_vocabulary(other, first.vocabulary, first.files[0])
        _check_lengths(other, first)
    if vocabulary:
        _check_vocabulary(first, vocabulary, "the model")
    if max_positions and first.row.max_seq_length > max_positions:
        raise ValueError(
            f"{first.files[0]}: rows of {first.row.max_seq_length} tokens; the "
            f"model takes at most {max_positions} (max_position_embeddings)."
        )
    num_rows = sum(found.num_rows for found in sets)
    return dataclasses.replace(first, files=tuple(paths), num_rows=num_rows)


def write_manifest(
    folder: pathlib.Path,
    rows: Mapping[str, int],
    *,
    vocabulary: Vocabulary,
    made_with: Mapping[str, Any],
    statistics: Mapping[str, Any],
) -> None:
    """Adds the vocabulary and records.json to a folder of record files.

    Args:
        folder: the folder of the record files.
        rows: number of rows by file name.
        vocabulary: the vocabulary of the token ids.
        made_with: all settings of the records.
        statistics: counts for people to read, by name; nothing checks them.
    """
    vocabulary.save(folder)
    manifest = {
        "format_version": FORMAT_VERSION,
        "vocab_size": len(vocabulary),
        "lower_case": vocabulary.lower_case,
        "fingerprint": vocabulary.fingerprint,
        **made_with,
        **statistics,
        "files": {
            name: {"rows": n, "bytes": (folder / name).stat().st_size}
            for name, n in rows.items()
        },
    }
    text = json.dumps(manifest, indent=2) + "\n"
    atomic_files.write_text(folder / MANIFEST, text)


def _files_in_folders(patterns: str) -> str:
    """Replaces each folder by a glob of its record files."""
    return ",".join(
        os.path.join(p, "*.tfrecord*") if os.path.isdir(p) else p
        for p in patterns.split(",")
    )


def _read_own(
    folder: str, paths: Sequence[str], patterns: Sequence[str]
) -> RecordSet:
    file = os.path.join(folder, MANIFEST)
    vocabulary = Vocabulary.load(os.path.join(folder, "vocab.txt"))
    manifest = json_files.read(file, _Manifest, others=Any)
    row = records.RowLengths(
        manifest["max_seq_length"],
        manifest["max_predictions"] if manifest["masked"] else 0,
        next_sentence=manifest["next_sentence"],
        packed=manifest["packed"],
    )
    try:
        if manifest["fingerprint"] != vocabulary.fingerprint:
            raise ValueError(
                f"made with another vocabulary than {folder}/vocab.txt"
            )
        _check_whole(folder, manifest["files"], paths, patterns)
        for path in paths:
            _check_size(path, row, manifest["files"])
    except ValueError as error:
        raise ValueError(f"{file}: {error}.") from None
    entries = [manifest["files"][os.path.basename(path)] for path in paths]
    return RecordSet(
        files=tuple(paths),
        num_rows=sum(entry["rows"] for entry in entries),
        row=row,
        vocabulary=vocabulary,
    )


def _check_whole(
    folder: str,
    listed: Iterable[str],
    paths: Sequence[str],
    patterns: Sequence[str],
) -> None:
    """Checks that every listed file that matches a pattern exists."""
    for name in listed:
        path = os.path.join(folder, name)
        matches = any(fnmatch.fnmatchcase(path, x) for x in patterns)
        if not matches or path in paths:
            continue
        if not os.path.lexists(path):
            raise ValueError(f"{path} is missing")
        found = "a folder" if os.path.isdir(path) else "not a regular file"
        raise ValueError(f"{path} is {found}; needs the record file")


def _check_size(
    path: str,
    row: records.RowLengths,
    listed: Mapping[str, Mapping[str, int]],
) -> None:
    entry = listed.get(os.path.basename(path))
    if entry is None:
        raise ValueError(f"{path} is not among its files")
    if (size := os.path.getsize(path)) != entry["bytes"]:
        raise ValueError(
            f"{path} has {size} bytes instead of {entry['bytes']}: it was "
            "truncated or replaced"
        )
    # Ids, mask and segments have at least a byte per token. So the file's size
    # limits what is allocated for these numbers.
    if size < entry["rows"] * 3 * row.max_seq_length:
        raise ValueError(
            f"{path} has {size} bytes, too few for {entry['rows']} rows of "
            f"max_seq_length {row.max_seq_length}"
        )
    if row.max_predictions > row.max_seq_length:
        raise ValueError(
            f"max_predictions is {row.max_predictions}; needs at most "
            f"max_seq_length, {row.max_seq_length}"
        )


def _read_foreign(
    paths: Sequence[str], vocabulary: Vocabulary | None
) -> RecordSet:
    if vocabulary is None:
        raise ValueError(
            f"{paths[0]}: no {MANIFEST} in its folder, so its vocabulary is "
            "unknown; give the one that it was made with."
        )
    row = records.row_lengths(paths[0])
    return RecordSet(
        files=tuple(paths),
        num_rows=records.count_rows(paths, row, len(vocabulary)),
        row=row,
        vocabulary=vocabulary,
    )


def _check_vocabulary(
    found: RecordSet, expected: Vocabulary, owner: str
) -> None:
    if found.vocabulary.fingerprint != expected.fingerprint:
        raise ValueError(
            f"{found.files[0]}: made with another vocabulary "
            f"({_describe(found.vocabulary)}) than that of {owner} "
            f"({_describe(expected)})."
        )


def _describe(vocabulary: Vocabulary) -> str:
    casing = "uncased" if vocabulary.lower_case else "cased"
    return (
        f"{len(vocabulary)} tokens, {casing}, "
        f"fingerprint {vocabulary.fingerprint[:8]}"
    )


def _check_lengths(found: RecordSet, expected: RecordSet) -> None:
    if found.row != expected.row:
        raise ValueError(
            f"{found.files[0]}: {found.row}, but {expected.files[0]}: "
            f"{expected.row}; needs equal ones."
        )
