# SPDX-License-Identifier: Apache-2.0
"""Record files that belong together, and the vocabulary of their token ids.

A folder of kbert's records holds, beside its files, `vocab.txt`, `vocab.json`
and `records.json`: what the rows were made with, and the rows and bytes of
each file, so that a file cut short is known before training starts. Files of
google-research/bert or Model Garden stand alone; there the vocabulary has to
be given, and they are read through once to count and check their rows.
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
from kbert.text import files as text_files
from kbert.text.vocabulary import Vocabulary

FORMAT_VERSION = 1
MANIFEST = "records.json"  # stands in a folder whose files are all whole
_NATURAL = Range(at_least=0)


class _Entry(TypedDict):
    rows: Annotated[int, _NATURAL]
    bytes: Annotated[int, _NATURAL]


class _Manifest(TypedDict):
    """What the reader needs of records.json; more stands in it."""

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
    """Record files of one kind, checked against each other.

    Attributes:
        files: paths, in order.
        num_rows: rows in all files.
        row: lengths of each row, `row.max_seq_length`, `row.max_predictions`.
        vocabulary: what the token ids stand for.
    """

    files: tuple[str, ...]
    num_rows: int
    row: records.RowLengths
    vocabulary: Vocabulary

    def damage_named(self):
        """Wrap it around reading: a damaged row becomes a ValueError."""
        return records.damage_named(self.files, self.row, len(self.vocabulary))


def find(
    patterns: str,
    *,
    vocabulary: Vocabulary | None = None,
    max_positions: int | None = None,
) -> RecordSet:
    """Finds record files and checks that they can be used together.

    Args:
        patterns: comma-separated folders, paths and globs.
        vocabulary: the model's; may be left out for records of kbert's own.
        max_positions: tokens that the model takes in a row, if it is known.
    Raises: ValueError, naming the file, what was found and what was wanted.
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
    """Adds vocabulary and records.json to a folder of finished files.

    Args:
        folder: holds the record files.
        rows: number of rows by file name.
        vocabulary: what the token ids stand for.
        made_with: all settings, among them max_seq_length, max_predictions.
        statistics: what there was to count, by the name of each part; for the
            reader, nothing checks it.
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
    """Puts the glob of its record files in the place of each folder."""
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
    """Sees that every listed file that a pattern asks for is there."""
    for name in listed:
        path = os.path.join(folder, name)
        asked = any(fnmatch.fnmatchcase(path, x) for x in patterns)
        if not asked or path in paths:
            continue
        if not os.path.lexists(path):
            raise ValueError(f"{path} is missing")
        found = "a folder" if os.path.isdir(path) else "no regular file"
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
            "cut short or replaced"
        )
    # Ids, mask and segments take a byte a token at least: whatever is made of
    # these numbers then has a size that the file justifies.
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
            f"{paths[0]}: no {MANIFEST} beside it, so its vocabulary is "
            "unknown; give the one it was made with."
        )
    row = records.row_lengths(paths[0])
    return RecordSet(
        files=tuple(paths),
        num_rows=records.count_rows(paths, row, len(vocabulary)),
        row=row,
        vocabulary=vocabulary,
    )


def _check_vocabulary(found: RecordSet, wanted: Vocabulary, owner: str) -> None:
    if found.vocabulary.fingerprint != wanted.fingerprint:
        raise ValueError(
            f"{found.files[0]}: made with another vocabulary "
            f"({_describe(found.vocabulary)}) than that of {owner} "
            f"({_describe(wanted)})."
        )


def _describe(vocabulary: Vocabulary) -> str:
    casing = "uncased" if vocabulary.lower_case else "cased"
    return (
        f"{len(vocabulary)} tokens, {casing}, "
        f"fingerprint {vocabulary.fingerprint[:8]}"
    )


def _check_lengths(found: RecordSet, wanted: RecordSet) -> None:
    if found.row != wanted.row:
        raise ValueError(
            f"{found.files[0]}: {found.row}, but {wanted.files[0]}: "
            f"{wanted.row}; wanted the same."
        )
