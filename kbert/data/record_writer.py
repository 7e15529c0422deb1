# SPDX-License-Identifier: Apache-2.0
"""Makes a folder of pre-training records from text files.

The text is tokenized once, block by block, to disk. Then each record file is
made independently, with its own seed, from every n-th stretch of the text;
random next sentences come from the whole text. So the result does not depend
on the number of processes, and a run that was killed resumes with the missing
blocks and files.
"""

import dataclasses
import datetime
import functools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import tensorflow as tf

from kbert import atomic_files, json_files
from kbert.data import documents, full_sentences, records, sentence_pairs
from kbert.data.record_options import RecordOptions
from kbert.data.record_rows import PARTS, RecordRows
from kbert.data.record_sets import MANIFEST, write_manifest
from kbert.data.record_statistics import Counted, Statistics
from kbert.data.workers import Workers
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import VOCABULARY_FILE, Vocabulary

if TYPE_CHECKING:  # it needs Beam
    from kbert.data.beam_workers import BeamWorkers

_WORK = "work"  # intermediate files
_CORPUS = "work/corpus"

Progress = Callable[[str, int, int], object]


class _Summary(TypedDict):
    """The fields of records.json for people to read."""

    counts: dict[str, int]
    shares: dict[str, float]
    lengths: dict[str, int]


def make_records(
    text_files: Sequence[str],
    output_dir: str | os.PathLike,
    *,
    vocabulary: Vocabulary,
    options: RecordOptions,
    workers: "Workers | BeamWorkers | None" = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes record files, vocab.txt, vocab.json and records.json.

    They are written to `output_dir`.partial, which is renamed at the end.

    Args:
        text_files: text files in the format that documents.py describes.
        output_dir: an empty or new folder.
        vocabulary: the vocabulary of the model to train.
        options: the settings of the records.
        workers: the worker processes, ended afterwards; None for this process
            alone. The records do not depend on it.
        progress: called with a step's name, the amount done and the total.
    Returns: record_statistics.Statistics.summary(), also in records.json.
    Raises: ValueError for bad input, which leaves no folder; OSError, after
        which, as after a kill, a call with the same arguments resumes.
    """
    show = progress or (lambda step, done, total: None)
    settings = {
        **dataclasses.asdict(options),
        "vocabulary": vocabulary.fingerprint,
        **_describe_files(text_files),
    }
    with (
        atomic_files.resumable_folder(
            pathlib.Path(output_dir), settings
        ) as folder,
        workers or Workers(1) as pool,
    ):
        if not (folder / MANIFEST).exists():
            vocabulary.save(folder)
            if not (folder / _CORPUS).exists():
                _read_text(text_files, settings, folder, pool, show)
            _write_records(folder, options, vocabulary, pool, show)
        shutil.rmtree(folder / _WORK, ignore_errors=True)
        manifest = json_files.read(folder / MANIFEST, _Summary, others=Any)
    return {name: manifest[name] for name in ("counts", "shares", "lengths")}


def _describe_files(paths):
    described = {}
    for path in paths:
        status = os.stat(path)
        changed = datetime.datetime.fromtimestamp(status.st_mtime)
        described[path] = f"of {status.st_size} bytes, changed {changed}"
    return described


def _read_text(paths, settings, folder, workers, show):
    """Tokenizes the text into the corpus."""
    blocks = documents.blocks(paths)
    tasks = [
        _BlockTask(
            folder,
            settings["vocabulary"],
            block,
            folder / _WORK / f"block-{number:06}",
        )
        for number, block in enumerate(blocks)
    ]
    (folder / _WORK).mkdir(exist_ok=True)
    _run(workers, tasks, functools.partial(show, "Reading text"))
    for path, now in _describe_files(paths).items():
        if now != settings[path]:
            raise ValueError(
                f"{path}: changed while it was read: it was {settings[path]}, "
                f"now it is {now}."
            )
    documents.join(
        [(task.block, task.result) for task in tasks],
        folder / _CORPUS,
        min_sentences=(
            sentence_pairs if settings["next_sentence"] else full_sentences
        ).MIN_SENTENCES,
    )
    corpus = documents.Corpus(folder / _CORPUS)
    _check_corpus(corpus, paths, settings["next_sentence"])
    for task in tasks:
        shutil.rmtree(task.result)


def _check_corpus(corpus, paths, next_sentence):
    named = paths[0] if len(paths) == 1 else f"{paths[0]} to {paths[-1]}"
    if not corpus.num_tokens:
        raise ValueError(f"{named}: no text found.")
    if next_sentence and corpus.num_documents == 1:
        raise ValueError(
            f"{named}: only one document; needs two or more, separated by "
            "blank lines: a random next sentence comes from another document."
        )
    if not corpus.num_stretches:
        raise ValueError(
            f"{named}: none of {corpus.num_documents} documents has two "
            "sentences, so no sentence has a next one; needs documents of "
            "several sentences. A blank line ends a document."
        )


def _write_records(folder, options, vocabulary, workers, show):
    """Makes the record files and their manifest from the corpus."""
    corpus = documents.Corpus(folder / _CORPUS)
    num_shards = min(options.num_shards, corpus.num_stretches)
    tasks = [
        _ShardTask(folder, vocabulary.fingerprint, number, num_shards, options)
        for number in range(num_shards)
    ]
    _run(workers, tasks, functools.partial(show, "Writing records"))
    statistics = Statistics(options.max_seq_length)
    statistics.counts.update(
        documents=corpus.num_documents,
        sentences=corpus.num_sentences,
        corpus_tokens=corpus.num_tokens,
    )
    rows = {}
    negatives = np.zeros(1, np.uint8)
    for task in tasks:
        found = json_files.read(task.result, Counted)
        rows[task.file_name] = found["counts"]["rows"]
        statistics.add(Statistics.from_json(found))
        if options.next_sentence:
            negatives = negatives | np.load(task.negatives)
    if options.next_sentence:
        distinct = int(np.unpackbits(negatives).sum())
        statistics.counts["distinct_negatives"] = distinct
    write_manifest(
        folder,
        rows,
        vocabulary=vocabulary,
        made_with=dataclasses.asdict(options),
        statistics=statistics.summary(),
    )


def _run(workers, tasks, progress):
    """Runs the tasks that are not done yet."""
    todo = [task for task in tasks if not task.result.exists()]
    total = sum(task.amount for task in tasks)
    done = total - sum(task.amount for task in todo)

    def report(amount):
        nonlocal done
        done = min(done + amount, total)
        progress(done, total)

    progress(done, total)
    workers.run(todo, report)
    progress(total, total)


@dataclasses.dataclass(frozen=True)
class _BlockTask:
    """Tokenizes a block of text."""

    folder: pathlib.Path
    vocabulary: str  # its fingerprint
    block: documents.Block
    result: pathlib.Path

    def __str__(self):
        return str(self.block)

    @property
    def amount(self):
        return self.block.end - self.block.start

    def __call__(self, report):
        tokenizer = _tokenizer(self.folder, self.vocabulary)
        documents.tokenize(self.block, tokenizer, self.result, report)


# Cached by fingerprint too: other records may use the same path later.
@functools.lru_cache(maxsize=1)
def _vocabulary(folder, fingerprint):
    return Vocabulary.load(folder / VOCABULARY_FILE)


@functools.lru_cache(maxsize=1)
def _tokenizer(folder, fingerprint):
    return Tokenizer(_vocabulary(folder, fingerprint))


@dataclasses.dataclass(frozen=True)
class _ShardTask:
    """Makes one record file."""

    folder: pathlib.Path
    vocabulary: str  # its fingerprint
    number: int
    num_shards: int
    options: RecordOptions
    amount = PARTS

    def __str__(self):
        return self.file_name

    @property
    def file_name(self):
        return f"records-{self.number:05}-of-{self.num_shards:05}.tfrecord"

    @property
    def result(self):
        """The statistics, written after the record file."""
        return self.folder / _WORK / f"{self.file_name}.json"

    @property
    def negatives(self):
        return self.folder / _WORK / f"{self.file_name}.npy"

    def __call__(self, report):
        options, folder = self.options, self.folder
        shard = RecordRows(
            documents.Corpus(folder / _CORPUS),
            _vocabulary(folder, self.vocabulary),
            options,
            number=self.number,
            num_shards=self.num_shards,
        )
        with atomic_files.writing_file(folder / self.file_name) as file:
            try:
                records.write(str(file), shard.serialized(report))
            except tf.errors.OpError as error:
                raise OSError(f"{file}: {error.message}") from error
        if options.next_sentence:
            with atomic_files.writing_file(self.negatives) as file:
                np.save(file, shard.negatives)
        text = json.dumps(shard.statistics.to_json())
        atomic_files.write_text(self.result, text)
