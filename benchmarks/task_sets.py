# SPDX-License-Identifier: Apache-2.0
"""Converts public data sets to files that kbert reads.

Each function reads a data set in its published format from a folder, writes a
train and a dev file if the published ones cannot be used directly, and returns
the `Data`.
"""

import contextlib
import json
import pathlib
import random
import sys
from collections.abc import Callable, Sequence

from benchmarks.finetune_sides import Data
from examples import squad_sentences

_SST2_ROWS = 20_000
_HELD_OUT = 10  # every tenth row or document, where there is no dev file
_SHORT, _LONG = 128, 384


def sst2(data: pathlib.Path, out: pathlib.Path) -> Data:
    """The sentiment of 20,000 of the training phrases."""
    header, *lines = _lines(data / "glue/SST-2/train.tsv")
    chosen = random.Random(0).sample(lines, _SST2_ROWS)
    train = _write(out / "sst2_train.tsv", [header, *chosen])
    return _text(train, data / "glue/SST-2/dev.tsv", ["sentence"], "label")


def cola(data: pathlib.Path, out: pathlib.Path) -> Data:
    """Whether a sentence is acceptable."""
    files = (data / "glue/CoLA/train.tsv", data / "glue/CoLA/dev.tsv")
    header = ["source", "label", "mark", "sentence"]
    return _text(*files, ["sentence"], "label", header=header)


def mrpc(data: pathlib.Path, out: pathlib.Path) -> Data:
    """Whether two sentences are paraphrases."""
    files = (data / "glue/MRPC/train.tsv", data / "glue/MRPC/dev.tsv")
    return _text(*files, ["#1 String", "#2 String"], "Quality")


def rte(data: pathlib.Path, out: pathlib.Path) -> Data:
    """Whether one text follows from another."""
    files = (data / "glue/RTE/train.tsv", data / "glue/RTE/dev.tsv")
    return _text(*files, ["sentence1", "sentence2"], "label")


def sick_entailment(data: pathlib.Path, out: pathlib.Path) -> Data:
    """Entailment, contradiction or neither."""
    files = (data / "sick/train.tsv", data / "sick/dev.tsv")
    return _text(*files, ["sentence_A", "sentence_B"], "entailment_judgment")


def sick_relatedness(data: pathlib.Path, out: pathlib.Path) -> Data:
    """How much two sentences have to do with each other, 1 to 5."""
    files = (data / "sick/train.tsv", data / "sick/dev.tsv")
    columns = ["sentence_A", "sentence_B"]
    return _text(*files, columns, "relatedness_score", task="regression")


def trec(data: pathlib.Path, out: pathlib.Path) -> Data:
    """The 50 classes of what a question asks for."""
    lines = _lines(data / "trec/train.txt", encoding="latin-1")
    rows = [line.replace(" ", "\t", 1) for line in lines]
    known = {row.split("\t")[0] for row in _others(rows)}
    dev = [row for row in rows[::_HELD_OUT] if row.split("\t")[0] in known]
    train = _write(out / "trec_train.tsv", _others(rows))
    files = (train, _write(out / "trec_dev.tsv", dev))
    return _text(*files, ["question"], "class", header=["class", "question"])


def wnut17(data: pathlib.Path, out: pathlib.Path) -> Data:
    """Entities that are new and rare."""
    files = (data / "ner/wnut17/train.conll", data / "ner/wnut17/dev.conll")
    return Data(
        task="tagging",
        train=str(files[0]),
        dev=str(files[1]),
        options={"max_seq_length": _SHORT},
    )


def wikigold(data: pathlib.Path, out: pathlib.Path) -> Data:
    """Entities in encyclopaedia articles."""
    text = "\n".join(_lines(data / "ner/wikigold/train.conll"))
    documents = [x for x in text.split("-DOCSTART-") if x.strip()]
    # The rest of the line of a -DOCSTART- is no word.
    documents = [x.partition("\n")[2].strip() for x in documents]
    train = _write(out / "wikigold_train.conll", _spaced(_others(documents)))
    dev = _write(out / "wikigold_dev.conll", _spaced(documents[::_HELD_OUT]))
    return Data(
        task="tagging",
        train=str(train),
        dev=str(dev),
        options={"max_seq_length": _SHORT},
    )


def answer_sentences(data: pathlib.Path, out: pathlib.Path) -> Data:
    """Which of four sentences of a paragraph answers a question."""
    files = {
        "train": data / "squad/train-v1.1-17articles.json",
        "dev": data / "squad/xquad.en-v1.1.json",
    }
    for part, path in files.items():
        with contextlib.redirect_stdout(sys.stderr):
            squad_sentences.main(str(path), str(out / f"sentences_{part}"))
    return Data(
        task="multiple_choice",
        train=str(out / "sentences_train/choices.csv"),
        dev=str(out / "sentences_dev/choices.csv"),
        options={
            "text_columns": ["question"],
            "choice_columns": [f"choice{i}" for i in range(4)],
            "label_column": "label",
            "max_seq_length": _SHORT,
        },
    )


def squad1(data: pathlib.Path, out: pathlib.Path) -> Data:
    """Answers in paragraphs: 17 articles, and XQuAD's English ones."""
    return _questions(
        data / "squad/train-v1.1-17articles.json",
        data / "squad/xquad.en-v1.1.json",
    )


def squad2(data: pathlib.Path, out: pathlib.Path) -> Data:
    """Answers that may be missing: half of dev's articles, the other half."""
    whole = json.loads((data / "squad/dev-v2.0.json").read_text("utf-8"))
    files = []
    for part in (0, 1):
        path = out / f"squad2_{('train', 'dev')[part]}.json"
        articles = {**whole, "data": whole["data"][part::2]}
        files.append(_write(path, [json.dumps(articles)]))
    return _questions(*files)


def _text(
    train: pathlib.Path,
    dev: pathlib.Path,
    columns: Sequence[str],
    label: str,
    *,
    task: str = "classification",
    header: Sequence[str] | None = None,
) -> Data:
    options = {"text_columns": list(columns), "label_column": label}
    return Data(
        task=task,
        train=str(train),
        dev=str(dev),
        options={**options, "header": header, "max_seq_length": _SHORT},
    )


def _questions(train: pathlib.Path, dev: pathlib.Path) -> Data:
    return Data(
        task="question_answering",
        train=str(train),
        dev=str(dev),
        options={"max_seq_length": _LONG},
    )


def _lines(path: pathlib.Path, encoding: str = "utf-8") -> list[str]:
    return path.read_text(encoding).removesuffix("\n").split("\n")


def _write(path: pathlib.Path, lines: Sequence[str]) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def _others(rows: Sequence[str]) -> list[str]:
    return [row for i, row in enumerate(rows) if i % _HELD_OUT]


def _spaced(documents: Sequence[str]) -> list[str]:
    return [line for text in documents for line in (text, "")]


# By name: how it is had, passes over its training rows, and the scores that
# are compared.
SETS: dict[
    str,
    tuple[Callable[[pathlib.Path, pathlib.Path], Data], int, tuple[str, ...]],
] = {
    "SST-2": (sst2, 1, ("accuracy",)),
    "CoLA": (cola, 3, ("matthews",)),
    "MRPC": (mrpc, 3, ("f1", "accuracy")),
    "RTE": (rte, 3, ("accuracy",)),
    "SICK entailment": (sick_entailment, 3, ("accuracy",)),
    "SICK relatedness": (sick_relatedness, 3, ("pearson",)),
    "TREC": (trec, 3, ("accuracy",)),
    "WNUT-17": (wnut17, 3, ("f1",)),
    "WikiGold": (wikigold, 5, ("f1",)),
    "SQuAD sentences": (answer_sentences, 1, ("accuracy",)),
    "SQuAD 1.1": (squad1, 2, ("exact_match", "f1")),
    "SQuAD 2.0": (squad2, 4, ("best_exact_match", "best_f1")),
}
