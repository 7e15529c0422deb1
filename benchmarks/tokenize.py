# SPDX-License-Identifier: Apache-2.0
"""Times kbert's tokenizer and its peers, alternately, on the same texts.

Each side is a map of a tf.data pipeline on two cores, over batches of lines:
kbert; tf-text's FastBertTokenizer, which cleans text differently; and Hugging
Face's tokenizers in a numpy_function. They alternate for some rounds, so that
all run under the same conditions. The table on standard output is ready for
RESULTS.md:

    python -m benchmarks.tokenize --data_dir=DIR

DIR holds pretrain/movie_reviews_cv0-8.txt, one sentence a line, and
vocab/bert-base-uncased-vocab.txt. A second text mixes letters with accents,
Chinese and Devanagari; it is made here.
"""

import argparse
import importlib.metadata
import os
import pathlib
import random
import statistics
import time
from collections.abc import Callable

if __name__ == "tokenize":
    # Python's own module was asked for, by a script started by its path.
    raise ImportError("Start it as a module: python -m benchmarks.NAME")

_CORES = 2
_BATCH = 1024  # lines
_KBERT, _PEERS = "kbert", ("tf-text", "tokenizers")
_SPANS = " with spans"
_PACKAGES = ("tensorflow", "tensorflow-text", "tokenizers")

Rounds = dict[str, list[float]]


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data_dir", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lines", type=int, help="at most, of each text")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"

    reviews = args.data_dir / "pretrain" / "movie_reviews_cv0-8.txt"
    texts = {
        "movie reviews": reviews.read_text("utf-8").split("\n")[: args.lines],
        "mix": mixed_lines(args.lines or 20_000, seed=1),
    }
    sides = make_sides(args.data_dir / "vocab" / "bert-base-uncased-vocab.txt")
    results = {}
    for name, lines in texts.items():
        count, rounds = run_rounds(sides, lines, args.rounds)
        results[name] = summarize(rounds, count)
    versions = [f"{p} {importlib.metadata.version(p)}" for p in _PACKAGES]
    print(format_report(results))
    print(f"\n{args.rounds} rounds; {', '.join(versions)}.")


def mixed_lines(count: int, *, seed: int) -> list[str]:
    """Lines of 25 words: a third each accented, Chinese and Devanagari."""
    draw = random.Random(seed)
    kinds = [
        ("abcdeéèêñüöçåøłśžțğ", 3, 10),
        ([chr(c) for c in range(0x4E00, 0x6000)], 1, 6),
        ([chr(c) for c in (*range(0x905, 0x93A), *range(0x93E, 0x94E))], 2, 8),
    ]

    def word():
        letters, least, most = draw.choice(kinds)
        return "".join(draw.choices(letters, k=draw.randint(least, most)))

    return [" ".join(word() for _ in range(25)) for _ in range(count)]


def make_sides(vocab: pathlib.Path) -> dict[str, Callable]:
    """Functions from (B,) string to flat tensors: ids, and spans if asked."""
    import numpy as np
    import tensorflow as tf
    import tensorflow_text as tf_text
    import tokenizers

    from kbert.text.tokenizer import Tokenizer
    from kbert.text.vocabulary import UNK, Vocabulary

    tf.get_logger().setLevel("ERROR")  # else each new pipeline is a warning
    vocabulary = Vocabulary.load(vocab, lower_case=True)
    ours = Tokenizer(vocabulary)
    fast = tf_text.FastBertTokenizer(
        list(vocabulary.tokens),
        token_out_type=tf.int32,
        unknown_token=UNK,
        lower_case_nfd_strip_accents=True,
    )
    theirs = tokenizers.BertWordPieceTokenizer(str(vocab), lowercase=True)

    def encode(texts):
        rows = theirs._tokenizer.encode_batch_fast(
            [text.decode() for text in texts], add_special_tokens=False
        )
        return np.array([i for row in rows for i in row.ids], np.int64)

    def encode_with_spans(texts):
        rows = theirs.encode_batch(
            [text.decode() for text in texts], add_special_tokens=False
        )
        ids = np.array([i for row in rows for i in row.ids], np.int64)
        spans = [span for row in rows for span in row.offsets]
        return ids, np.array(spans, np.int64)

    def flat(ragged):
        return [part.flat_values for part in ragged]

    return {
        _KBERT: lambda texts: flat([ours(texts)]),
        "tf-text": lambda texts: flat([fast.tokenize(texts)]),
        "tokenizers": lambda texts: [
            tf.numpy_function(encode, [texts], tf.int64)
        ],
        _KBERT + _SPANS: lambda texts: flat(ours.with_spans(texts)),
        "tf-text" + _SPANS: lambda texts: flat(
            fast.tokenize_with_offsets(texts)
        ),
        "tokenizers" + _SPANS: lambda texts: tf.numpy_function(
            encode_with_spans, [texts], [tf.int64, tf.int64]
        ),
    }


def run_rounds(
    sides: dict[str, Callable], lines: list[str], count: int
) -> tuple[int, Rounds]:
    """Lets the sides take turns.

    Returns: the number of tokens that kbert makes of the lines, and the
        seconds of each side, one number a round.
    """
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices(lines).batch(_BATCH).cache()

    def pipeline(side):
        def sizes_and_sums(texts):
            # Every output is used, or the graph would leave it out.
            parts = [tf.cast(part, tf.int64) for part in side(texts)]
            total = tf.add_n([tf.reduce_sum(part) for part in parts])
            return tf.size(parts[0]), total

        mapped = batches.map(sizes_and_sums, num_parallel_calls=_CORES)

        @tf.function
        def run():
            tokens, used = tf.constant(0), tf.constant(0, tf.int64)
            for size, total in mapped:
                tokens, used = tokens + size, used + total
            return tokens, used

        return run

    pipelines = {name: pipeline(side) for name, side in sides.items()}
    tokens = {name: int(run()[0]) for name, run in pipelines.items()}  # warm
    rounds: Rounds = {name: [] for name in sides}
    for _ in range(count):
        for name, run in pipelines.items():
            start = time.perf_counter()
            run()
            rounds[name].append(time.perf_counter() - start)
    return tokens[_KBERT], rounds


def summarize(rounds: Rounds, tokens: int) -> dict[str, dict[str, float]]:
    """For each side: tokens a second, and kbert's speed over its own.

    Both are medians over the rounds. `tokens` counts kbert's tokens, for all:
    the work is the text.
    """
    results = {}
    for name, seconds in rounds.items():
        kbert = rounds[_KBERT + (_SPANS if name.endswith(_SPANS) else "")]
        ratios = [b / a for a, b in zip(kbert, seconds, strict=True)]
        results[name] = {
            "rate": tokens / statistics.median(seconds),
            "ratio": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
        }
    return results


def format_report(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """A Markdown table, one line for each text and side."""
    lines = [
        "| text | side | M tokens/s | kbert's times as fast | in the rounds |",
        "|---|---|---:|---:|---:|",
    ]
    for text, sides in results.items():
        for name, result in sides.items():
            lines.append(
                f"| {text} | {name} | {result['rate'] / 1e6:.2f} | "
                f"{result['ratio']:.2f} | {result['least']:.2f} to "
                f"{result['most']:.2f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
