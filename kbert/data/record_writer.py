# SPDX-License-Identifier: Apache-2.0
"""Makes a folder of pre-training records from text files.

The text is turned into token ids once, on disk. Then every record file is
made by itself, from each n-th document and a seed of its own, while random
next sentences come from the whole text. So it does not matter which process
makes which file, nor how many processes there are.
"""

import contextlib
import dataclasses
import functools
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import pathlib
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from kbert import features
from kbert.data import documents, records, sentence_pairs
from kbert.data.masking import Masking, mask_tokens
from kbert.data.record_sets import write_manifest
from kbert.text.packing import pack
from kbert.text.tokenizer import Tokenizer
from kbert.text.vocabulary import Vocabulary

_ROWS_AT_ONCE = 4096  # a seed's rows depend on it

_LOWEST = {
    "max_seq_length": 8,
    "max_predictions": 1,
    "dupe_factor": 1,
    "num_shards": 1,
    "seed": 0,
}

Progress = Callable[[str, int, int], object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """What decides the rows, beside text and vocabulary.

    Attributes:
        max_seq_length: S, tokens of a row; shorter pairs are padded.
        max_predictions: P, tokens to predict in a row at most.
        masked_lm_prob: share of the tokens to predict.
        whole_words: whether the pieces of a word, "##x", go with it.
        max_ngram: most tokens, or whole words, that are hidden in one go.
        short_seq_prob: share of the pairs that are made shorter than S.
        dupe_factor: how often the text is gone through, with other choices.
        num_shards: record files, if there are as many documents.
        seed: the same text, vocabulary and options give the same files.
    Raises: ValueError, naming the option.
    """

    max_seq_length: int
    max_predictions: int
    masked_lm_prob: float
    whole_words: bool
    max_ngram: int
    short_seq_prob: float
    dupe_factor: int
    num_shards: int
    seed: int

    def __post_init__(self):
        """Checks every option."""
        for name, lowest in _LOWEST.items():
            value = getattr(self, name)
            if not lowest <= value < 2**63:
                raise ValueError(f"{name} is {value}; wanted {lowest} or more.")
        if self.max_predictions > self.max_seq_length:
            raise ValueError(
                f"max_predictions is {self.max_predictions}; wanted at most "
                f"max_seq_length, which is {self.max_seq_length}."
            )
        _ = self.masking  # checks the others
        if not 0 <= self.short_seq_prob < 1:
            raise ValueError(
                f"short_seq_prob is {self.short_seq_prob}; wanted 0 <= p < 1."
            )

    @property
    def masking(self) -> Masking:
        """What is hidden of a row."""
        names = [field.name for field in dataclasses.fields(Masking)]
        return Masking(**{name: getattr(self, name) for name in names})


def make_records(
    text_files: Sequence[str],
    output_dir: str | os.PathLike,
    *,
    vocabulary: Vocabulary,
    options: RecordOptions,
    num_workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Writes record files, vocab.txt, vocab.json and records.json.

    All goes to `output_dir`.partial, which gets its name when it is whole.

    Args:
        text_files: of the form that documents.py describes.
        output_dir: a folder that is empty or not there yet.
        vocabulary: of the model to train.
        options: lengths, shares and seed.
        num_workers: processes. If more than one, each imports TensorFlow, and
            the caller's `__main__` must be safe to import.
        progress: called with a step's name, what is done of it and all of it.
    Returns: what was counted; records.json has it too.
    Raises: ValueError or OSError, and then leaves no folder behind.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers is {num_workers}; wanted 1 or more.")
    show = progress or (lambda step, done, total: None)
    with _new_folder(pathlib.Path(output_dir)) as folder:
        corpus = documents.tokenize(
            text_files,
            Tokenizer(vocabulary),
            folder / "corpus",
            functools.partial(show, "Reading text"),
        )
        num_usable = len(sentence_pairs.usable_documents(corpus))
        num_shards = min(options.num_shards, num_usable)
        shards = [
            _Shard(folder, number, num_shards, vocabulary, options)
            for number in range(num_shards)
        ]
        counts = {
            "documents": corpus.num_documents,
            "sentences": corpus.num_sentences,
            "corpus_tokens": len(corpus.tokens),
        }
        counts |= dict.fromkeys(_SHARD_COUNTS, 0)
        rows = {}
        for shard, counted in _make_all(shards, num_workers):
            rows[shard.file_name] = counted["pairs"]
            for name, count in counted.items():
                counts[name] += count
            show("Writing records", len(rows), num_shards)
        shutil.rmtree(folder / "corpus")
        write_manifest(
            folder,
            dict(sorted(rows.items())),
            vocabulary=vocabulary,
            made_with=dataclasses.asdict(options),
            counts=counts,
        )
    return counts


_SHARD_COUNTS = ("pairs", "random_next", "cut", "tokens", "predictions")


@dataclasses.dataclass(frozen=True)
class _Shard:
    """One record file to make, as a worker process is told of it."""

    folder: pathlib.Path
    number: int
    num_shards: int
    vocabulary: Vocabulary
    options: RecordOptions

    @property
    def file_name(self):
        return f"records-{self.number:05}-of-{self.num_shards:05}.tfrecord"


def _make_all(shards, num_workers):
    """Yields each shard with its counts, in the order they are done."""
    if num_workers > 1 and len(shards) > 1:
        yield from _make_in_processes(shards, num_workers)
    else:
        for shard in shards:
            yield shard, _make_shard(shard)


def _make_in_processes(shards, num_workers):
    workers = {}
    try:
        for number in range(min(num_workers, len(shards))):
            receiver, worker = _start_worker(shards[number::num_workers])
            workers[receiver] = worker
        while workers:
            ready = multiprocessing.connection.wait(list(workers))
            for receiver in [r for r in workers if r in ready]:
                try:
                    result = receiver.recv()
                except EOFError:
                    _check_ended(workers.pop(receiver))
                    continue
                if isinstance(result, Exception):
                    raise result
                yield result
    finally:
        for worker in workers.values():
            worker.terminate()
            worker.join()


def _start_worker(shards):
    context = multiprocessing.get_context("spawn")  # TensorFlow cannot fork
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(shards, sender), daemon=True)
    # Ctrl-C goes to all processes; this one hears it and ends the others.
    multiprocessing.resource_tracker.ensure_running()  # resets the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        worker.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    sender.close()  # so that the worker's end is the only one
    return receiver, worker


def _check_ended(worker):
    worker.join()
    if worker.exitcode:
        raise OSError(
            f"A worker process ended with exit code {worker.exitcode} "
            "(-9 may be the system, short of memory)."
        )


def _work(shards, sender):
    """What a worker process runs."""
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with contextlib.suppress(BrokenPipeError):  # the caller was killed
        for shard in shards:
            try:
                result = shard, _make_shard(shard)
            except (ValueError, OSError) as error:
                result = error
            sender.send(result)


def _make_shard(shard):
    options = shard.options
    corpus = documents.Corpus.open(shard.folder / "corpus")
    usable = sentence_pairs.usable_documents(corpus)
    pairs = sentence_pairs.choose(
        corpus,
        usable[shard.number :: shard.num_shards],
        max_tokens=options.max_seq_length - 3,
        short_seq_prob=options.short_seq_prob,
        dupe_factor=options.dupe_factor,
        seed=f"{options.seed} {shard.number}",
    )
    make_rows = _row_maker(shard.vocabulary, options)
    counts = dict.fromkeys(_SHARD_COUNTS, 0)
    counts["pairs"] = len(pairs)
    counts["random_next"] = int(pairs.is_random.sum())

    def batches():
        for first in range(0, len(pairs), _ROWS_AT_ONCE):
            some = pairs[first : first + _ROWS_AT_ONCE]
            rows, counted = make_rows(
                *_take(corpus.tokens, some.a_start, some.a_end, options),
                *_take(corpus.tokens, some.b_start, some.b_end, options),
                some.is_random,
                np.array([options.seed, (shard.number << 32) + first]),
            )
            for name, count in counted.items():
                counts[name] += int(count)
            yield rows

    records.write(str(shard.folder / shard.file_name), batches())
    return counts


def _take(tokens, start, end, options):
    """Copies spans, as values and row lengths; no more than can be kept."""
    lengths = np.minimum(end - start, options.max_seq_length)
    before = np.cumsum(lengths) - lengths
    index = np.arange(lengths.sum()) + np.repeat(start - before, lengths)
    return tokens[index], lengths


@functools.lru_cache(maxsize=1)  # traced once in a process
def _row_maker(vocabulary, options):
    tokens = tf.TensorSpec([None], tf.int32)
    number_a_row = tf.TensorSpec([None], tf.int64)

    @tf.function(
        autograph=False,  # no Python control flow in it; seconds less to trace
        input_signature=[
            *(tokens, number_a_row, tokens, number_a_row),
            number_a_row,
            tf.TensorSpec([2], tf.int64),
        ],
    )
    def make_rows(a_ids, a_lengths, b_ids, b_lengths, is_random, seed):
        rows, cut = pack(
            tf.RaggedTensor.from_row_lengths(a_ids, a_lengths),
            tf.RaggedTensor.from_row_lengths(b_ids, b_lengths),
            vocabulary=vocabulary,
            seq_length=options.max_seq_length,
            pad_to=options.max_seq_length,
        )
        rows |= mask_tokens(
            rows["token_ids"],
            rows["padding_mask"],
            vocabulary=vocabulary,
            masking=options.masking,
            seed=seed,
        )
        rows[features.NEXT_SENTENCE_LABELS] = is_random
        counted = {
            "cut": tf.math.count_nonzero(cut),
            "tokens": tf.math.count_nonzero(rows["padding_mask"]),
            "predictions": tf.math.count_nonzero(rows[features.MASK_WEIGHTS]),
        }
        return records.serialize(rows), counted

    return make_rows


@contextlib.contextmanager
def _new_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill, which becomes `path` at the end, or else goes away."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(
            f"{path}: is there already; wanted a new or an empty folder, so "
            "that nothing is lost."
        )
    partial = path.with_name(path.name + ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.mkdir()
    except FileExistsError:
        raise ValueError(
            f"{partial}: another run writes it, or was stopped before its "
            "end; if so, remove it."
        ) from None
    try:
        yield partial
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
