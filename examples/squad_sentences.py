# SPDX-License-Identifier: Apache-2.0
"""Makes data for two tasks of the questions in a SQuAD file.

    python examples/squad_sentences.py train-v1.1.json out/squad_sentences

writes, for multiple choice, choices.csv: a question and four sentences of its
paragraph, in one of which the answer stands (columns question, choice0 to
choice3, and label, the right one's place); and for summaries, summaries.jsonl:
the sentences of a paragraph, each labelled 1 if an answer stands in it.
Paragraphs of fewer than four sentences are left out.
"""

import csv
import json
import pathlib
import random
import sys

from kbert.bin import standard_streams
from kbert.data.documents import split_sentences

_CHOICES = 4


def main(squad: str, folder: str) -> None:
    """Writes both files."""
    tree = json.loads(pathlib.Path(squad).read_text("utf-8"))
    choices, summaries = [], []
    draw = random.Random(0)
    for paragraph in (p for x in tree["data"] for p in x["paragraphs"]):
        spans = sentence_spans(paragraph["context"])
        if len(spans) < _CHOICES:
            continue
        sentences = [paragraph["context"][a:b].strip() for a, b in spans]
        asked = list(_questions(paragraph, spans))
        choices += [
            [question, *_choices(sentences, right, draw)]
            for question, right in asked
        ]
        holding = {right for _, right in asked}
        labels = [int(i in holding) for i in range(len(spans))]
        summaries.append({"sentences": sentences, "labels": labels})
    place = pathlib.Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    header = ["question", *(f"choice{i}" for i in range(_CHOICES)), "label"]
    with (place / "choices.csv").open(
        "w", encoding="utf-8", newline=""
    ) as file:
        csv.writer(file).writerows([header, *choices])
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in summaries]
    (place / "summaries.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"{place}/choices.csv: {len(choices):,} questions")
    print(f"{place}/summaries.jsonl: {len(summaries):,} paragraphs")


def _questions(paragraph, spans):
    """Each question that has an answer, and the sentence it begins in."""
    for question in paragraph["qas"]:
        for answer in question["answers"][:1]:
            at = answer["answer_start"]
            (right,) = (i for i, (a, b) in enumerate(spans) if a <= at < b)
            yield question["question"], right


def _choices(sentences, right, draw):
    """Four of the sentences, and which of them is right."""
    others = [i for i in range(len(sentences)) if i != right]
    chosen = [right, *draw.sample(others, _CHOICES - 1)]
    draw.shuffle(chosen)
    return [*(sentences[i] for i in chosen), chosen.index(right)]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Where each sentence begins and the next one does, all of the text.

    Example: "One. Two." gives [(0, 5), (5, 9)].
    """
    starts, at = [], 0
    for sentence in split_sentences(text):
        at = text.index(sentence, at)
        starts.append(at)
        at += len(sentence)
    starts[:1] = [0]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


if __name__ == "__main__":
    with standard_streams.utf8_until_closed():
        main(*sys.argv[1:])
