# SPDX-License-Identifier: Apache-2.0
"""Makes a folder of pre-training records from text files.

The text is turned into token ids once, on disk, block by block. Then every
record file is made by itself, from each n-th stretch of the text and a seed
of its own, while random next sentences come from the whole text. So it does
not matter which process makes what, nor how many processes there are; and a
run that was killed goes on with the blocks and files that are missing.
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

_WORK = "work"  # what is there until the records are whole
_CORPUS = "work/corpus"

Progress = Callable[[str, int, int], object]


class _Told(TypedDict):
    """What of records.json is for the reader."""

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

    All goes to `output_dir`.partial, which gets its name when it is whole.

    Args:
        text_files: of the form that documents.py describes.
        output_dir: a folder that is empty or not there yet.
        vocabulary: of the model to train.
        options: lengths, shares and seed.
        workers: who do it, and then end; None is this process. The records
            are the same.
        progress: called with a step's name, what is done of it and all of it.
    Returns: record_statistics.Statistics.summary(); records.json has it too.
    Raises: ValueError at bad input, and then leaves no folder behind; OSError,
        after which a call with the same arguments goes on, as after a kill.
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
        workers or Workers(1) as some,
    ):
        if not (folder / MANIFEST).exists():
            vocabulary.save(folder)
            if not (folder / _CORPUS).exists():
                _read_text(text_files, settings, folder, some, show)
            _write_records(folder, options, vocabulary, some, show)
        shutil.rmtree(folder / _WORK, ignore_errors=True)
        manifest = json_files.read(folder / MANIFEST, _Told, others=Any)
    return {name: manifest[name] for name in ("counts", "shares", "lengths")}


def _describe_files(paths):
    described = {}
    for path in paths:
        status = os.stat(path)
        changed = datetime.datetime.fromtimestamp(status.st_mtime)
        described[path] = f"of {status.st_size} bytes, changed {changed}"
    return described


def _read_text(paths, settings, folder, workers, show):
    """Makes the corpus."""
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
                f"{path}: was changed while it was read: it was "
                f"{settings[path]}, now it is {now}."
            )
    documents.join(
        [(task.block, task.result) for task in tasks],
        folder / _CORPUS,
        least_sentences=(
            sentence_pairs if settings["next_sentence"] else full_sentences
        ).LEAST_SENTENCES,
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
            f"{named}: one document only; wanted two or more, with a blank "
            "line between them: a random next sentence comes from another."
        )
    if not corpus.num_stretches:
        raise ValueError(
            f"{named}: none of {corpus.num_documents} documents has two "
            "sentences: no sentence has a next one. A blank line ends a "
            "document; wanted documents of several sentences."
        )


def _write_records(folder, options, vocabulary, workers, show):
    """Makes the record files and their manifest out of the corpus."""
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
    """Does the tasks that are not done yet."""
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
    """A block of text to turn into token ids."""

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


# Once in a process, which may make other records at the same place later.
@functools.lru_cache(maxsize=1)
def _vocabulary(folder, fingerprint):
    return Vocabulary.load(folder / VOCABULARY_FILE)


@functools.lru_cache(maxsize=1)
def _tokenizer(folder, fingerprint):
    return Tokenizer(_vocabulary(folder, fingerprint))


@dataclasses.dataclass(frozen=True)
class _ShardTask:
    """One record file to make."""

    folder: pathlib.Path
    vocabulary: str  # likewise
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
        """Is there when the record file is."""
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
